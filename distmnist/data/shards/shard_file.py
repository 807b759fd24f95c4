"""A shard, open for reading: single records, checked, and read again if that fails."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.errors import InputError, RunError
from distmnist.data.read_ahead import reading
from distmnist.data.shards import records
from distmnist.data.shards.index import DIGEST, Index, Shard, seal_bytes
from distmnist.distributed.watchdog import watchdog

T = TypeVar("T")

# Waits before a read is tried again, in seconds.
_WAITS = (0.1, 1.0, 5.0)
_CHUNK_BYTES = 8 << 20  # that are verified at a time


class Rows(NamedTuple):
    """Where examples are read to, or one of them.

    Attributes:
        features: as bytes, uint8 [n, bytes] or [bytes].
        targets: as bytes, and the checksum that follows, uint8 [n, bytes] or [bytes].
    """

    features: NDArray[np.uint8]
    targets: NDArray[np.uint8]


class ShardFile:
    """A shard, open for reading as long as there is a reference to it."""

    def __init__(
        self, path: Path, index: Index, shard: Shard, name: str = "", remedy: str = ""
    ):
        """Opens it, and checks its size and its seal.

        Args:
            path: the file.
            index: index of the data set.
            shard: what it has of this shard.
            name: in place of the path, in messages.
            remedy: what to do about a shard that is damaged; "": prepare it again.

        Raises:
            InputError: it is missing, or another than the index names.
            RunError: it cannot be read.
        """
        self._path = path
        self._name = name or str(path)
        self._remedy = remedy or "restore the data set, or prepare it again"
        self._shard = shard
        self._compressed = index.compression != "none"
        self._data_bytes = index.spec.example_bytes
        self._header = records.header(self._data_bytes)
        self._seal_bytes = seal_bytes(index.compression, shard.examples)
        self._descriptor = -1
        with reading(self._path):
            self._ends = self._patiently(self._check_seal, "")

    def _check_seal(self) -> NDArray[np.int64]:
        """Checks the size and the seal; returns where compressed records end."""
        seal, size = self._seal_bytes, os.fstat(self._descriptor).st_size
        if size != self._shard.bytes:
            raise self._wrong(f"has {size} bytes, not {self._shard.bytes}")
        content = os.pread(self._descriptor, seal, size - seal)
        data = content[records.HEADER : -records.FOOTER]
        if content != records.framed(data):
            raise self._wrong("its seal is damaged")
        if data[:DIGEST].hex() != self._shard.digest:
            raise self._wrong("is of other data than the index")
        sizes = np.frombuffer(data, "<u4", offset=DIGEST).astype(np.int64)
        ends = np.cumsum(sizes + records.OVERHEAD)
        if self._compressed and ends[-1] != size - seal:
            raise self._wrong("its seal is damaged")
        return ends

    def expect(self, numbers: NDArray[np.int64]) -> None:
        """Has the system read records ahead, without waiting for them.

        Args:
            numbers: of the records, in [0, examples).
        """
        for begin, end in zip(*(bound.tolist() for bound in self._bounds(numbers))):
            os.posix_fadvise(
                self._descriptor, begin, end - begin, os.POSIX_FADV_WILLNEED
            )

    def read(self, numbers: NDArray[np.int64], places: list[int], rows: Rows) -> None:
        """Reads records.

        Args:
            numbers: of the records, in [0, examples).
            places: row of each.
            rows: where to.

        Raises:
            InputError: one is damaged.
            RunError: one cannot be read, at several attempts.
        """
        with reading(self._path):
            self._read_all(numbers, places, rows)

    def verify(self) -> None:
        """Reads all records, and compares their digest with that of the index.

        Raises:
            InputError: one is damaged, or of other data.
            OSError: one cannot be read.
        """
        sha256 = hashlib.sha256()
        count = max(1, _CHUNK_BYTES // self._data_bytes)
        for first in range(0, self._shard.examples, count):
            numbers = np.arange(first, min(first + count, self._shard.examples))
            begins, ends = (bound.tolist() for bound in self._bounds(numbers))
            start, size = begins[0], ends[-1] - begins[0]
            content = os.pread(self._descriptor, size, start)
            for number, begin, end in zip(numbers.tolist(), begins, ends):
                example = self._example(content[begin - start : end - start])
                if example is None:
                    raise self._wrong("is damaged", _place(number))
                sha256.update(example)
            watchdog.beat()
        if sha256.hexdigest() != self._shard.digest:
            raise self._wrong("is of other data than the index")

    def _read_all(
        self, numbers: NDArray[np.int64], places: list[int], rows: Rows
    ) -> None:
        begins, ends = (bound.tolist() for bound in self._bounds(numbers))
        for number, begin, end, place in zip(numbers.tolist(), begins, ends, places):
            row = Rows(rows.features[place], rows.targets[place])
            try:
                intact = self._read(begin, end, row)
            except OSError:
                intact = False
            if not intact:
                read = functools.partial(self._read, begin, end, row)
                if not self._patiently(read, _place(number)):
                    raise self._wrong("is damaged", _place(number))

    def _bounds(
        self, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns where records begin and end."""
        if self._compressed:
            ends = self._ends[numbers]
            return np.where(numbers > 0, self._ends[numbers - 1], 0), ends
        begins = numbers * (self._data_bytes + records.OVERHEAD)
        return begins, begins + self._data_bytes + records.OVERHEAD

    def _read(self, begin: int, end: int, row: Rows) -> bool:
        """Reads a record to its row; returns whether it is intact."""
        if self._compressed:
            return self._read_compressed(begin, end, row)
        header = bytearray(records.HEADER)
        buffers = header, row.features.data, row.targets.data  # without a copy
        count = os.preadv(self._descriptor, buffers, begin)
        stored = row.targets[-records.FOOTER :].tobytes()
        return (
            count == end - begin
            and header == self._header
            and stored == records.footer(row.features, row.targets[: -records.FOOTER])
        )

    def _read_compressed(self, begin: int, end: int, row: Rows) -> bool:
        content = os.pread(self._descriptor, end - begin, begin)
        example = self._example(content)
        if example is None:
            return False
        array = np.frombuffer(example, np.uint8)
        row.features[:] = array[: len(row.features)]
        row.targets[: -records.FOOTER] = array[len(row.features) :]
        return True

    def _example(self, record: bytes) -> bytes | None:
        """Returns the example in a record; None if that is damaged."""
        data = record[records.HEADER : -records.FOOTER]
        header = records.header(len(data)) if self._compressed else self._header
        footer = records.footer(data)
        if record[: records.HEADER] != header or record[-records.FOOTER :] != footer:
            return None
        if not self._compressed:
            return data
        try:
            # No more than there should be: forged data may become any size.
            example = zlib.decompressobj().decompress(data, self._data_bytes + 1)
        except zlib.error:
            return None
        return example if len(example) == self._data_bytes else None

    def _patiently(self, function: Callable[[], T], where: str) -> T:
        """Calls a function, and again if it fails; the file is opened in between.

        Raises:
            InputError: there is no such file.
            RunError: the last attempt failed.
        """
        for wait in (*_WAITS, None):
            try:
                if self._descriptor < 0:
                    self._descriptor = self._open()
                    weakref.finalize(self, os.close, self._descriptor)
                return function()
            except FileNotFoundError:
                raise self._wrong("is missing") from None
            except OSError as error:
                reason = error.strerror or str(error)
                if wait is None:
                    raise RunError(
                        f"{self._name}{where}: cannot be read ({reason}, for "
                        f"{sum(_WAITS):.0f} s); check the disk, and continue with the "
                        "same flags"
                    ) from None
                logging.warning("%s%s: %s; trying again", self._name, where, reason)
            time.sleep(wait)
            with contextlib.suppress(OSError):
                self._reopen()
        raise AssertionError

    def _open(self) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # which no pipe waits for
        return os.open(self._path, flags)

    def _reopen(self) -> None:
        """Opens the file again, as a file handle of NFS may be stale."""
        if self._descriptor >= 0:
            opened = self._open()
            # Not closed and opened: another thread could read another file by it.
            os.dup2(opened, self._descriptor, inheritable=False)
            os.close(opened)
            self._check_seal()

    def _wrong(self, what: str, where: str = "") -> InputError:
        return InputError(f"{self._name}{where}: {what}; {self._remedy}")


def _place(number: int) -> str:
    """Returns which record it is, to follow the name of the file."""
    return f": record {number} (from 0)"
