"""Copies of prepared data on a node's own disk, shared by its ranks and its jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from absl import logging

from distmnist.core.errors import RunError
from distmnist.data.shards import index
from distmnist.data.shards.index import Index


def directory(local: Path, found: Index) -> Path:
    """Returns where the copy of a data set is: named by its content.

    Args:
        local: --local_dir.
        found: index of the data set.
    """
    return local / found.fingerprint[:16]


def copy(source: Path, local: Path, found: Index) -> None:
    """Copies the files of a data set that are not there yet.

    Several jobs may do so at the same time: each file appears whole, the index last.

    Args:
        source: directory of the prepared data set.
        local: --local_dir; created if it is missing.
        found: index of the data set.

    Raises:
        RunError: it cannot be copied.
    """
    target = directory(local, found)
    if index.is_prepared(target):
        return
    size = sum(shard.bytes for shards in found.splits.values() for shard in shards)
    logging.info("Copying %.1f GB of prepared data to %s", size / 1e9, target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for shards in found.splits.values():
            for shard in shards:
                _copy(source / shard.file, target, shard.bytes)
        _copy(source / index.NAME, target)
    except OSError as error:
        raise RunError(
            f"{error.filename2 or error.filename or target}: cannot be copied to "
            f"{target} ({error.strerror or error}); free some space, or leave out "
            "--local_dir"
        ) from None


def _copy(file: Path, target: Path, size: int = -1) -> None:
    """Copies a file, unless one of its size is there."""
    path = target / file.name
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == size:
            return
    hidden = target / f".{file.name}.{os.getpid()}"
    try:
        shutil.copyfile(file, hidden)
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
