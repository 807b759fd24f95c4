"""Reads the files of a TensorFlow checkpoint, and trusts nothing that they say.

Own code, because TensorFlow's reader ends the process on an index that is forged, takes
a path for a pattern, and opens the files again for each reading, when a training that
goes on may have deleted them.

The index is a table as LevelDB writes it: blocks of entries in the order of their keys,
each entry with what its key shares with the previous one, and a footer with the place
of the block that has the places of the others. The key is the name of a tensor, the
value a `BundleEntryProto`, and that of the empty key a `BundleHeaderProto`. Blocks are
not compressed. The values of tensors lie one behind the other in the data file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.protobuf import tensor_bundle_pb2

from distmnist.core.regular_file import File

_FOOTER = 48  # bytes, the last 8 of which are:
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # bytes behind each block: the compression and a checksum
_CHECKSUM = 4  # bytes between the length and the text of a string
_MAX_INDEX = 1 << 24  # bytes; a variable takes about 50
_MAX_NAMES = 1 << 26  # characters of all names, which share their beginnings
_MAX_STRING = 1 << 26  # bytes
_MAX_DIMENSIONS = 32  # NumPy's limit before version 2
_LITTLE = tensor_bundle_pb2.BundleHeaderProto.LITTLE


class Entry(NamedTuple):
    """Where a tensor is, and what.

    Attributes:
        dtype: its type.
        shape: its shape.
        offset: of its first byte in the data file.
        size: in bytes.
    """

    dtype: tf.DType
    shape: tuple[int, ...]
    offset: int
    size: int


class Bundle:
    """The tensors in the files of a checkpoint.

    Attributes:
        entries: where each tensor is, by name.
    """

    def __init__(self, index: File, data: File):
        """Reads the index.

        Args:
            index: file of the index.
            data: file of the values; read when they are requested.

        Raises:
            ValueError: the index is invalid, or not of this data file.
            OSError: it cannot be read.
        """
        self._data = data
        if index.size > _MAX_INDEX:
            raise ValueError("the index is too large")
        self.entries = {}
        found = _table(index.read(index.size))
        _check_header(next(found, (b"", None)))
        for key, value in found:
            self.entries[key.decode()] = _entry(value, data.size)

    def array(self, name: str) -> NDArray[Any]:
        """Returns the value of a tensor of numbers.

        Raises:
            ValueError: there is no such tensor of numbers.
            OSError: the data file cannot be read.
        """
        entry = self._find(name)
        if entry.dtype == tf.string:
            raise ValueError(f"{name} is a text")
        array = np.empty(entry.shape, entry.dtype.as_numpy_dtype)
        flat: NDArray[np.uint8] = array.reshape(-1).view(np.uint8)
        self._data.read_into(flat.data, entry.offset)
        return array

    def text(self, name: str) -> bytes:
        """Returns the value of a scalar string.

        Raises:
            ValueError: there is no such string.
            OSError: the data file cannot be read.
        """
        entry = self._find(name)
        if entry.dtype != tf.string or entry.shape or entry.size > _MAX_STRING:
            raise ValueError(f"{name} is not one text")
        content = self._data.read(entry.size, entry.offset)
        size, begin = _varint(content, 0)
        if begin + _CHECKSUM + size != entry.size:
            raise ValueError(f"{name} is of another length than it says")
        return content[begin + _CHECKSUM :]

    def _find(self, name: str) -> Entry:
        if name not in self.entries:
            raise ValueError(f"{name} is missing")
        return self.entries[name]


def _check_header(first: tuple[bytes, bytes | None]) -> None:
    key, value = first
    if key or value is None:
        raise ValueError("the index has no header")
    header = tensor_bundle_pb2.BundleHeaderProto()
    _parse(header, value)
    if header.num_shards != 1 or header.endianness != _LITTLE:
        raise ValueError("it is in several parts, or of another kind of machine")
    if header.version.min_consumer > 1:
        raise ValueError("it was written by a later version of TensorFlow")


def _entry(value: bytes, data_size: int) -> Entry:
    """Returns where a tensor is.

    Raises:
        ValueError: that is nowhere in the data file.
    """
    found = tensor_bundle_pb2.BundleEntryProto()
    _parse(found, value)
    try:
        dtype = tf.as_dtype(found.dtype)
    except TypeError:
        raise ValueError(f"there is no type {found.dtype}") from None
    shape = tuple(dimension.size for dimension in found.shape.dim)
    if (
        found.shape.unknown_rank
        or len(shape) > _MAX_DIMENSIONS
        or min(shape, default=0) < 0
    ):
        raise ValueError("a tensor has no valid shape")
    if found.shard_id or found.slices:
        raise ValueError("a tensor is in another file, or in slices")
    if (
        not 0 <= found.offset <= found.offset + found.size <= data_size
        or found.size < 0
    ):
        raise ValueError("a tensor is outside the data file")
    if dtype != tf.string:
        if not (
            dtype.is_floating or dtype.is_integer or dtype.is_bool or dtype.is_complex
        ):
            raise ValueError(f"a tensor is of type {dtype.name}")
        if math.prod(shape) * dtype.size != found.size:
            raise ValueError("a tensor is of another size than its shape says")
    return Entry(dtype, shape, found.offset, found.size)


def _parse(message: Any, content: bytes) -> None:
    try:
        message.ParseFromString(content)
    except DecodeError:
        raise ValueError("an entry of the index is malformed") from None


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table.

    Raises:
        ValueError: it is malformed.
    """
    footer = content[-_FOOTER:]
    if len(footer) < _FOOTER or not footer.endswith(_MAGIC):
        raise ValueError("the index is none of a checkpoint")
    # Of the block of metadata, which is empty, and of that with the other blocks.
    *_, at = _varint(footer, _varint(footer, 0)[1])
    last, total = b"", 0
    for _, handle in _block(content, footer, at):
        for key, value in _block(content, handle, 0):
            total += len(key)
            if (last and key <= last) or total > _MAX_NAMES:
                raise ValueError("the names in the index are not in order, or too long")
            last = key
            yield key, value


def _block(content: bytes, handle: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block.

    Args:
        content: the table.
        handle: contains the offset and the size of the block.
        at: where in the handle they are.

    Raises:
        ValueError: it is malformed.
    """
    begin, at = _varint(handle, at)
    size, _ = _varint(handle, at)
    end = begin + size
    if end + _TRAILER > len(content) - _FOOTER or size < 4:
        raise ValueError("a block of the index is outside it")
    if content[end]:
        raise ValueError("the index is compressed")
    # At the end are the offsets of keys that share nothing, and their number.
    restarts = int.from_bytes(content[end - 4 : end], "little")
    end -= 4 * (restarts + 1)
    key = b""
    while begin < end:
        shared, begin = _varint(content, begin)
        own, begin = _varint(content, begin)
        length, begin = _varint(content, begin)
        if shared > len(key) or begin + own + length > end:
            raise ValueError("an entry of the index is malformed")
        key = key[:shared] + content[begin : begin + own]
        begin += own
        yield key, content[begin : begin + length]
        begin += length


def _varint(content: bytes, begin: int) -> tuple[int, int]:
    """Returns an integer of 7 bits a byte, and where it ends.

    Raises:
        ValueError: it is cut off, or of more than 64 bits.
    """
    value = 0
    for index, byte in enumerate(content[begin : begin + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, begin + index + 1
    raise ValueError("a number in the index is malformed")
