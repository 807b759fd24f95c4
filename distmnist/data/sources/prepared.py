"""--dataset=DIRECTORY that distmnist.prepare wrote."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distmnist.data.dataset import SPLITS, Augment, Dataset
from distmnist.data.shards import index, local_copy
from distmnist.data.shards.index import Index
from distmnist.data.shards.reader import ShardedSplit
from distmnist.data.spec import DatasetSpec
from distmnist.distributed import cores

_MAX_THREADS = 8


def open_prepared(directory: str | Path, *, augment: Augment | None = None) -> Dataset:
    """Opens a data set that `python -m distmnist.prepare` wrote, to use it in Python.

    Args:
        directory: where it was written.
        augment: changes the features of training batches at random.

    Returns:
        The data set, whose examples are not read yet; `Config.data_residency` decides
        when they are.

    Raises:
        InputError: it is incomplete, or damaged.
    """
    source = Prepared(Path(directory))
    source.prepare()
    return dataclasses.replace(source.load(), augment=augment)


class Prepared:
    """The source of a prepared data set; see `data.sources.Source`."""

    def __init__(self, directory: Path, local_dir: str = ""):
        """Reads nothing yet.

        Args:
            directory: of the prepared data set.
            local_dir: where it is copied to first; "": nowhere.
        """
        self._directory = directory
        self._local_dir = local_dir
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
            ShardedSplit(self._place(found), found, name).check()

    def load(self) -> Dataset:
        """Returns the data set; its examples are read when they are needed."""
        found = self._read_index()
        threads = min(_MAX_THREADS, cores.available())
        train, validation, test = (
            ShardedSplit(self._place(found), found, name, threads) for name in SPLITS
        )
        return Dataset(
            found.name,
            f"{self._directory.absolute()}, prepared from {found.source}",
            found.fingerprint,
            found.spec,
            train,
            validation,
            test,
        )

    def _place(self, found: Index) -> Path:
        """Returns the directory that is read."""
        if self._local_dir:
            return local_copy.directory(Path(self._local_dir), found)
        return self._directory

    def _read_index(self) -> Index:
        if self._index is None:
            self._index = index.read(self._directory)
        return self._index
