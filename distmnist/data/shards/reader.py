"""Reads examples of a prepared split, in any order."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmnist.core import arrays
from distmnist.data.dataset import Split, check_values
from distmnist.data.shards import records
from distmnist.data.shards.index import Index
from distmnist.data.shards.shard_file import Rows, ShardFile

# Less than this is read on one thread: passing it on would take longer.
_WORTHWHILE = 1 << 20


class ShardedSplit:
    """A split whose examples are read when they are needed."""

    def __init__(
        self,
        directory: Path,
        index: Index,
        name: str,
        threads: int = 1,
        remedy: str = "",
    ):
        """Opens nothing yet.

        Args:
            directory: of the prepared data set.
            index: its index.
            name: of the split.
            threads: most threads that read at the same time.
            remedy: what to do about a shard that is damaged; "": prepare it again.
        """
        self._directory = directory
        self._index = index
        self._name = name
        self._shards = index.splits[name]
        counts = [shard.examples for shard in self._shards]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._starts = self._ends - counts
        self._open: dict[int, ShardFile] = {}
        self._opening = threading.Lock()
        self._threads = threads
        self._remedy = remedy

    @property
    def size(self) -> int:
        """Number of examples."""
        return int(self._ends[-1])

    def expect(self, indices: NDArray[Any]) -> None:
        """Has the system read examples ahead, without waiting for them.

        Args:
            indices: of the examples, [n].
        """
        for shard, numbers, _ in self._by_shard(indices):
            shard.expect(numbers)

    def take(self, indices: NDArray[Any]) -> Split:
        """Reads examples.

        Args:
            indices: of the examples, integers [n].

        Returns:
            Features and targets, in the order of the indices, writable.

        Raises:
            InputError: a shard is missing, or damaged, or of other data.
            RunError: it cannot be read.
        """
        spec, count = self._index.spec, len(indices)
        features = arrays.empty((count, *spec.feature_shape), spec.feature_dtype)
        targets = np.empty((count, spec.target_bytes + records.FOOTER), np.uint8)
        flat = features.reshape(count, spec.num_features)
        rows = Rows(flat.view(np.uint8), targets)
        threads = self._threads if count * spec.example_bytes > _WORTHWHILE else 1
        _in_threads(
            functools.partial(self._read, indices, part, rows)
            for part in np.array_split(np.arange(count), threads)
        )
        values = targets[:, : -records.FOOTER].copy().view(spec.target_dtype)
        found = Split(features, values.reshape(count, *spec.target_shape))
        if spec.num_classes is not None:  # forged ones have right checksums
            where = f"{self._directory}: {self._name} split"
            check_values(*found, num_classes=spec.num_classes, where=where)
        return found

    def check(self) -> None:
        """Opens all shards, and so checks their sizes and seals; see `take`."""
        for number in range(len(self._shards)):
            self._shard(number)

    def _read(
        self, indices: NDArray[Any], places: NDArray[np.int64], rows: Rows
    ) -> None:
        for shard, numbers, members in self._by_shard(indices[places]):
            shard.read(numbers, places[members].tolist(), rows)

    def _by_shard(
        self, indices: NDArray[Any]
    ) -> Iterator[tuple[ShardFile, NDArray[np.int64], NDArray[np.int64]]]:
        """Yields shards, numbers of their records, and where these are in `indices`.

        Records are in the order of the file, which disks read fastest.
        """
        order = np.argsort(indices, kind="stable")
        ascending = indices[order].astype(np.int64)
        shards = np.searchsorted(self._ends, ascending, side="right")
        begins = np.flatnonzero(np.diff(shards, prepend=-1))
        for begin, end in zip(begins, [*begins[1:], len(indices)]):
            shard = int(shards[begin])
            numbers = ascending[begin:end] - self._starts[shard]
            yield self._shard(shard), numbers, order[begin:end]

    def _shard(self, number: int) -> ShardFile:
        """Returns a shard, which stays open."""
        if number not in self._open:
            with self._opening:
                if number not in self._open:
                    shard = self._shards[number]
                    self._open[number] = ShardFile(
                        self._directory / shard.file,
                        self._index,
                        shard,
                        remedy=self._remedy,
                    )
        return self._open[number]


def _in_threads(functions: Iterable[Callable[[], None]]) -> None:
    """Calls functions at the same time, on threads that no exit waits for.

    Raises:
        BaseException: what one raises, once all have ended.
    """
    first, *others = functions
    errors: list[BaseException] = []

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(other,), daemon=True) for other in others
    ]
    for thread in threads:
        thread.start()
    run(first)
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
