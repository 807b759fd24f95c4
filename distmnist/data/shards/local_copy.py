"""Copies of prepared data on a node's own disk, shared by its ranks and its jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from absl import logging

from distmnist.core.errors import InputError, RunError
from distmnist.core.whole_files import remove_leftovers, whole_file
from distmnist.data.shards import index
from distmnist.data.shards.index import COMPRESSIONS, Index, Shard
from distmnist.data.shards.shard_file import ShardFile
from distmnist.distributed.watchdog import watchdog

# A file that nothing was written to for so long is a leftover: no writer waits longer.
_LEFTOVER_SECONDS = 24 * 3600.0


def directory(local: Path, found: Index) -> Path:
    """Returns where the copy of a data set is: named by its content.

    Args:
        local: --local_dir.
        found: index of the data set.
    """
    return _directory(local, found.fingerprint, found.compression)


def find(local: Path, fingerprint: str) -> Path | None:
    """Returns the directory of a complete copy; None if there is none.

    Args:
        local: --local_dir.
        fingerprint: of the data set.
    """
    for compression in COMPRESSIONS:
        place = _directory(local, fingerprint, compression)
        if index.is_prepared(place):  # its index is written last
            return place
    return None


def _directory(local: Path, fingerprint: str, compression: str) -> Path:
    # The same data have the same fingerprint, however they are stored.
    suffix = "" if compression == "none" else f"-{compression}"
    return local / f"{fingerprint[:16]}{suffix}"


def make(
    local: Path, found: Index, origin: str, fetch: Callable[[Shard, Path], None]
) -> None:
    """Copies the files of a data set that are not there yet, or damaged.

    Several jobs may do so at the same time: each file appears whole, the index last.

    Args:
        local: --local_dir; created if it is missing.
        found: index of the data set.
        origin: where the data set is, for messages.
        fetch: copies a shard to a path.

    Raises:
        UserError: it cannot be copied.
    """
    from tqdm import tqdm  # most runs copy nothing

    target = directory(local, found)
    shards = [shard for shards in found.splits.values() for shard in shards]
    try:
        target.mkdir(parents=True, exist_ok=True)
        for place, name in ((local, index.NAME), (target, "*.tfrecord")):
            remove_leftovers(place, name, _LEFTOVER_SECONDS)
        missing = [shard for shard in shards if not _is_intact(target, found, shard)]
        size = sum(shard.bytes for shard in missing)
        if missing:
            logging.info("Copying %.3g GB from %s to %s", size / 1e9, origin, target)
        # Shown on a terminal only.
        with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:
            for shard in missing:
                with whole_file(target / shard.file) as hidden:
                    fetch(shard, hidden)
                bar.update(shard.bytes)
                watchdog.beat()
        if not _has_index(target, found):
            index.write(target, found)
    except OSError as error:
        raise RunError(
            f"{error.filename2 or error.filename or target}: cannot be copied to "
            f"{target} ({error.strerror or error}); free some space, or give another "
            "--local_dir"
        ) from None


def _is_intact(target: Path, found: Index, shard: Shard) -> bool:
    """Returns whether a shard was copied, and has its size and seal."""
    path = target / shard.file
    if not path.exists():
        return False
    try:
        ShardFile(path, found, shard, remedy="copied again")
    except InputError as error:
        logging.warning("%s", error)
        return False
    return True


def _has_index(target: Path, found: Index) -> bool:
    """Returns whether there is an index of these shards, of whatever name."""
    try:
        there = index.read(target)
    except InputError:
        return False
    return (there.splits, there.spec) == (found.splits, found.spec)
