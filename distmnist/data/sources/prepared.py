"""--dataset=DIRECTORY that distmnist.prepare wrote, or the URL of such a directory."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from distmnist.core.errors import InputError, RunError
from distmnist.core.urls import is_url, without_secrets
from distmnist.data.dataset import SPLITS, Augment, Dataset
from distmnist.data.shards import index, local_copy
from distmnist.data.shards.index import Index, Shard
from distmnist.data.shards.reader import ShardedSplit
from distmnist.data.shards.remote import Remote
from distmnist.data.shards.shard_file import ShardFile
from distmnist.data.spec import DatasetSpec
from distmnist.distributed import cores

_MAX_THREADS = 8


def open_prepared(
    directory: str | Path, *, augment: Augment | None = None, local_dir: str | Path = ""
) -> Dataset:
    """Opens a data set that `python -m distmnist.prepare` wrote, to use it in Python.

    Args:
        directory: where it was written; or the URL that it was uploaded to.
        augment: changes the features of training batches at random.
        local_dir: directory that it is copied to first, if it is not there yet;
            required of a URL.

    Returns:
        The data set, whose examples are not read yet; `Config.data_residency` decides
        when they are.

    Raises:
        UserError: it is incomplete, or damaged, or cannot be copied.
    """
    source = Prepared(directory, os.fspath(local_dir))
    source.prepare()
    return dataclasses.replace(source.load(), augment=augment)


class Prepared:
    """The source of a prepared data set; see `data.sources.Source`."""

    def __init__(self, directory: str | Path, local_dir: str = ""):
        """Reads nothing yet.

        Args:
            directory: of the prepared data set; or its URL.
            local_dir: where it is copied to first; "": nowhere.

        Raises:
            InputError: it is a URL that cannot be read from.
        """
        self._directory = Path(directory)
        self._local = Path(local_dir) if local_dir else None
        self._remote: Remote | None = None
        self._index: Index | None = None
        if isinstance(directory, str) and is_url(directory):
            if not local_dir:
                raise InputError(
                    f"{without_secrets(directory)}: a URL is read from a local copy; "
                    "give --local_dir=DIRECTORY, on each node's own disk"
                )
            self._remote = Remote(directory)

    @property
    def spec(self) -> DatasetSpec:
        """Shapes and classes of the examples."""
        return self._read_index().spec

    def prepare(self) -> None:
        """Copies the shards, and checks that all are there and belong together."""
        found = self._read_index()
        if self._local:
            local_copy.make(self._local, found, self._origin, self._fetch)
        for name in SPLITS:
            self._split(found, name).check()

    def load(self) -> Dataset:
        """Returns the data set; its examples are read when they are needed."""
        found = self._read_index()
        threads = min(_MAX_THREADS, cores.available())
        train, validation, test = (self._split(found, name, threads) for name in SPLITS)
        return Dataset(
            found.name,
            f"{self._origin}, prepared from {found.source}",
            found.fingerprint,
            found.spec,
            train,
            validation,
            test,
        )

    @property
    def _origin(self) -> str:
        """Where the data set is, in words."""
        return self._remote.url if self._remote else str(self._directory.absolute())

    def _split(self, found: Index, name: str, threads: int = 1) -> ShardedSplit:
        directory, remedy = self._directory, ""
        if self._local:
            directory = local_copy.directory(self._local, found)
            remedy = "delete the file, and it is copied again"
        return ShardedSplit(directory, found, name, threads, remedy)

    def _fetch(self, shard: Shard, path: Path) -> None:
        """Copies a shard, and compares the copy with the index."""
        found = self._read_index()
        if self._remote:
            self._remote.fetch(found, shard, path)
        else:
            source = self._directory / shard.file
            shutil.copyfile(source, path)
            ShardFile(path, found, shard, str(source)).verify()

    def _read_index(self) -> Index:
        if self._index is None:
            self._index = self._download_index() or index.read(self._directory)
        return self._index

    def _download_index(self) -> Index | None:
        """Returns the index at the URL; None if there is no URL."""
        if not (self._remote and self._local):
            return None
        try:
            self._local.mkdir(parents=True, exist_ok=True)
            return self._remote.read_index(self._local)
        except OSError as error:
            raise RunError(
                f"{error.filename or self._local}: cannot be written "
                f"({error.strerror or error}); free some space, or give another "
                "--local_dir"
            ) from None
