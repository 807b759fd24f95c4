"""Copies of prepared data on a node's own disk, shared by its ranks and its jobs."""

from __future__ import annotations

import shutil
from pathlib import Path

from absl import logging

from distmnist.core.errors import InputError, RunError
from distmnist.core.whole_files import whole_file
from distmnist.data.shards import index
from distmnist.data.shards.index import Index, Shard
from distmnist.data.shards.shard_file import ShardFile


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
    shards = [shard for shards in found.splits.values() for shard in shards]
    try:
        target.mkdir(parents=True, exist_ok=True)
        missing = [shard for shard in shards if not _is_intact(target, found, shard)]
        if missing:
            size = sum(shard.bytes for shard in missing)
            logging.info("Copying %.1f GB of data to %s", size / 1e9, target)
        for shard in missing:
            _copy(source / shard.file, target)
        if not index.is_prepared(target):
            _copy(source / index.NAME, target)
    except OSError as error:
        raise RunError(
            f"{error.filename2 or error.filename or target}: cannot be copied to "
            f"{target} ({error.strerror or error}); free some space, or leave out "
            "--local_dir"
        ) from None


def _is_intact(target: Path, found: Index, shard: Shard) -> bool:
    """Returns whether a shard was copied, and has its size and seal."""
    if not (target / shard.file).exists():
        return False
    try:
        ShardFile(target, found, shard)
    except InputError as error:
        logging.warning("Copied again: %s", error)
        return False
    return True


def _copy(file: Path, target: Path) -> None:
    """Copies a file."""
    with whole_file(target / file.name) as hidden:
        shutil.copyfile(file, hidden)
