"""--dataset=DIRECTORY that distmnist.prepare wrote: in memory, or streamed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from distmnist.data.dataset import SPLITS, Augment, Dataset, Split, StreamedSplit
from distmnist.data.shards import index, local_copy
from distmnist.data.shards.index import Index
from distmnist.data.shards.reader import ShardedSplit
from distmnist.data.spec import DatasetSpec
from distmnist.distributed import cores, launchers, memory

# Share of the available memory that the data of all processes of a host may take.
_SHARE = 0.5

_MAX_THREADS = 8


def open_prepared(
    directory: str | Path, *, augment: Augment | None = None, residency: str = "auto"
) -> Dataset:
    """Opens a data set that `python -m distmnist.prepare` wrote, to use it in Python.

    Args:
        directory: where it was written.
        augment: changes the features of training batches at random.
        residency: where it is during the run: in "memory", or on disk and read ahead of
            the steps ("stream"); "auto": in memory if it takes less than half of what
            is available.

    Raises:
        InputError: it is incomplete, or damaged.
    """
    source = Prepared(Path(directory), residency)
    source.prepare()
    return dataclasses.replace(source.load(), augment=augment)


class Prepared:
    """The source of a prepared data set; see `data.sources.Source`."""

    def __init__(self, directory: Path, residency: str = "auto", local_dir: str = ""):
        """Reads nothing yet.

        Args:
            directory: of the prepared data set.
            residency: one of `data_options.RESIDENCIES`.
            local_dir: where it is copied to first; "": nowhere.
        """
        self._directory = directory
        self._local_dir = local_dir
        self._residency = residency
        self._index: Index | None = None

    @property
    def spec(self) -> DatasetSpec:
        """Shapes and classes of the examples."""
        return self._read_index().spec

    def prepare(self) -> None:
        """Copies the shards, and checks that all are there and belong together."""
        found = self._read_index()
        if self._local_dir:
            local_copy.copy(self._directory, Path(self._local_dir), found)
        for name in SPLITS:
            split = ShardedSplit(self._place(found), found, name)
            split.check()
            split.close()

    def load(self) -> Dataset:
        """Reads the shards into memory, or only opens them, as the residency says."""
        found = self._read_index()
        threads = min(_MAX_THREADS, cores.available())
        streamed = {
            name: ShardedSplit(self._place(found), found, name, threads)
            for name in SPLITS
        }
        size = found.spec.example_bytes * sum(s.size for s in streamed.values())
        splits: dict[str, Split | StreamedSplit] = {}
        for name, split in streamed.items():
            splits[name] = split
            if self._is_resident(size):
                splits[name] = split.take(np.arange(split.size))
                split.close()
        return Dataset(
            found.name,
            f"{self._directory.absolute()}, prepared from {found.source}",
            found.fingerprint,
            found.spec,
            splits["train"],
            splits["validation"],
            splits["test"],
        )

    def _place(self, found: Index) -> Path:
        """Returns the directory that is read."""
        if self._local_dir:
            return local_copy.directory(Path(self._local_dir), found)
        return self._directory

    def _is_resident(self, size: int) -> bool:
        """Returns whether data of so many bytes are kept in memory."""
        if self._residency != "auto":
            return self._residency == "memory"
        local_size = launchers.detect(os.environ).local_size
        return size * local_size <= memory.available() * _SHARE

    def _read_index(self) -> Index:
        if self._index is None:
            self._index = index.read(self._directory)
        return self._index
