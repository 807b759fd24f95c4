"""Writes a prepared data set; one that was interrupted is continued.

The directory has a journal while it is written: what it is made of, and each shard that
is complete. The index comes last, and the journal goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.core.lock import Lock
from distmnist.core.whole_files import remove_leftovers
from distmnist.data import permutation
from distmnist.data.dataset import SPLITS, Split
from distmnist.data.shards import index, writer
from distmnist.data.shards.examples import Unprepared
from distmnist.data.shards.index import Index, Shard

_JOURNAL = ".journal"
_LOCK = ".lock"

# A shard is large enough to be read well, small enough that several processes write a
# data set, and there are no more of a split than files may be open.
_SMALLEST, _LARGEST, _MOST = 16 << 20, 256 << 20, 512

_CHUNK_BYTES = 8 << 20  # that are read at a time
_SHUFFLE_KEY = (0x5A5A5A5A,)  # no run's order


class Part(NamedTuple):
    """The examples of a shard.

    Attributes:
        split: name of their split.
        number: of the shard in it.
        first: the first of them.
        last: the one after the last of them.
    """

    split: str
    number: int
    first: int
    last: int

    @property
    def file(self) -> str:
        """Name of the shard."""
        return f"{self.split}-{self.number:05}.tfrecord"


class Written(msgspec.Struct, frozen=True):
    """What became of a part, as a line of the journal.

    Attributes:
        file: name of the shard.
        shard: what the index has of it; None if all its examples were left out.
        skipped: what was wrong with those that were left out.
    """

    file: str
    shard: Shard | None
    skipped: tuple[str, ...] = ()


class Preparation:
    """The writing of one data set; its methods are called in their order."""

    def __init__(
        self,
        directory: Path,
        unprepared: Unprepared,
        compression: str = "none",
        shuffle: bool = False,
        skip_bad: bool = False,
    ):
        """Writes nothing yet.

        Args:
            directory: where to; created if it is missing.
            unprepared: what is written.
            compression: one of `index.COMPRESSIONS`.
            shuffle: write training examples in random order.
            skip_bad: leave out examples that cannot be read.
        """
        self._directory = directory
        self._unprepared = unprepared
        self._compression = compression
        self._shuffle = shuffle
        self._skip_bad = skip_bad
        self._lock = Lock(directory / _LOCK, "")
        self._done: dict[str, Written] = {}
        settings = [unprepared.spec.to_json(), compression, shuffle, skip_bad]
        content = f"{unprepared.origin} {json.dumps(settings, sort_keys=True)}"
        self._origin = hashlib.sha256(content.encode()).hexdigest()

    def begin(self) -> list[Part] | None:
        """Creates the directory, or finds what an earlier attempt has written.

        Returns:
            The parts that are to be written; None if there is nothing left to do.

        Raises:
            InputError: the directory has something else, or is in use.
            OSError: it cannot be written to.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._is_complete():
            return None
        self._check_ours()
        self._lock.acquire()
        if self._is_complete():  # by another process, meanwhile
            (self._directory / _LOCK).unlink()
            self.close()
            return None
        self._done = self._read_journal()
        for name in (index.NAME, "*.tfrecord"):
            remove_leftovers(self._directory, name)
        return [part for part in self._parts() if part.file not in self._done]

    def write(self, part: Part, progress: Callable[[int], None]) -> Written:
        """Writes a shard; may be called by several processes.

        Args:
            part: its examples.
            progress: called with the number of examples, time and again.

        Raises:
            InputError: an example is invalid.
            OSError: the shard cannot be written.
        """
        skipped: list[str] = []
        examples = self._read(part, skipped, progress)
        shard = writer.write(self._directory / part.file, examples, self._compression)
        return Written(part.file, shard, tuple(skipped))

    def note(self, written: Written) -> None:
        """Notes in the journal that a part is complete."""
        with (self._directory / _JOURNAL).open("ab") as file:
            file.write(msgspec.json.encode(written) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._done[written.file] = written
        for reason in written.skipped:
            logging.warning("Skipped: %s", reason)

    def finish(self) -> Index:
        """Writes the index, and removes what only writing needs.

        Raises:
            InputError: a split has no example that is valid.
            OSError: it cannot be written.
        """
        shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}
        for part in self._parts():
            if shard := self._done[part.file].shard:
                shards[part.split].append(shard)
        for split, found in shards.items():
            if not found:
                raise InputError(
                    f"{self._unprepared.source}: no example of the {split} split is "
                    "valid; correct them"
                )
        unprepared = self._unprepared
        result = Index(
            1,
            unprepared.name,
            unprepared.source,
            self._origin,
            unprepared.spec,
            self._compression,  # type: ignore[arg-type]  # checked as a flag
            **{split: tuple(found) for split, found in shards.items()},
        )
        index.write(self._directory, result)
        (self._directory / _JOURNAL).unlink()
        (self._directory / _LOCK).unlink()
        self.close()
        return result

    def close(self) -> None:
        """Lets others write to the directory."""
        self._lock.release()

    def _is_complete(self) -> bool:
        """Returns whether there is nothing left to do.

        Raises:
            InputError: the directory has another prepared data set.
        """
        if not index.is_prepared(self._directory):
            return False
        if index.read(self._directory).origin != self._origin:
            raise InputError(
                f"{self._directory}: was prepared of other data, or with other flags; "
                "name another directory"
            )
        return True

    def _check_ours(self) -> None:
        """Raises InputError if the directory has what no preparation wrote."""
        found = [entry.name for entry in self._directory.iterdir()]
        others = [name for name in found if name not in (_JOURNAL, _LOCK)]
        if others and _JOURNAL not in found:
            raise InputError(
                f"{self._directory}: is not empty ({others[0]}); name another directory"
            )

    def _read_journal(self) -> dict[str, Written]:
        """Returns what an earlier attempt completed; begins the journal if none did.

        Raises:
            InputError: it was of something else.
        """
        path = self._directory / _JOURNAL
        content = path.read_bytes() if path.exists() else b""
        origin, *lines = content.split(b"\n")
        if not lines:  # not even the first line is complete
            path.write_text(f"{self._origin}\n")
            return {}
        if origin != self._origin.encode():
            raise InputError(
                f"{self._directory}: was begun with other data or flags; continue with "
                "these, or name another directory"
            )
        os.truncate(path, len(content) - len(lines[-1]))  # what a kill left of a line
        done = {}
        for line in lines[:-1]:
            with contextlib.suppress(msgspec.DecodeError, OSError):
                written = msgspec.json.decode(line, type=Written)
                file, shard = self._directory / written.file, written.shard
                if not shard or file.stat().st_size == shard.bytes:
                    done[written.file] = written
        return done

    def _parts(self) -> list[Part]:
        """Returns the parts of all splits; which they are depends on the data alone."""
        example = self._unprepared.spec.example_bytes
        parts = []
        for split in SPLITS:
            size = self._unprepared.splits[split].size
            total = example * size
            shard = max(min(_LARGEST, max(_SMALLEST, total // 64)), total // _MOST)
            count = max(1, shard // example)
            parts += [
                Part(split, number, first, min(first + count, size))
                for number, first in enumerate(range(0, size, count))
            ]
        return parts

    def _read(
        self, part: Part, skipped: list[str], progress: Callable[[int], None]
    ) -> Iterator[Split]:
        """Yields the examples of a part."""
        examples = self._unprepared.splits[part.split]
        count = max(1, _CHUNK_BYTES // self._unprepared.spec.example_bytes)
        for first in range(part.first, part.last, count):
            indices = np.arange(first, min(first + count, part.last))
            if self._shuffle and part.split == "train":
                indices = permutation.permuted(indices, examples.size, _SHUFFLE_KEY)
            try:
                yield examples.take(indices)
            except InputError:
                if not self._skip_bad:
                    raise
                yield from self._read_singly(part.split, indices, skipped)
            progress(len(indices))

    def _read_singly(
        self, split: str, indices: NDArray[np.int64], skipped: list[str]
    ) -> Iterator[Split]:
        for number in range(len(indices)):
            try:
                yield self._unprepared.splits[split].take(indices[number : number + 1])
            except InputError as error:
                skipped.append(str(error))
