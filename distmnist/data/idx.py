"""Reads MNIST's file format, IDX, and believes nothing that a file says of itself.

An IDX file is two zero bytes, the type (8: unsigned byte), the number of
dimensions, each dimension as a big-endian uint32, and the values.  MNIST is two
pairs of such files: images of three dimensions and labels of one.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError

IMAGE_SIZE = 28  # pixels, both ways
NUM_CLASSES = 10

_CHUNK = 1 << 20  # bytes
_REPLACE = "replace the file, or delete it to have MNIST's downloaded"


def is_images(path: Path) -> bool:
    """Tells whether a file claims to be one of images; False if it can't be read."""
    try:
        with _open(path) as stream:
            return stream.read(4) == _magic((IMAGE_SIZE, IMAGE_SIZE))
    except (OSError, EOFError, zlib.error):
        return False


def read_images(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of grey images, gzipped if its name ends in .gz.

    Returns:
        The images, uint8 [n, 784], n > 0; and the SHA-256 in hex of the file's
        decompressed content.

    Raises:
        InputError: the file cannot be read, or is not whole images of 28x28.
    """
    return _read(path, (IMAGE_SIZE, IMAGE_SIZE))


def read_labels(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of labels, gzipped if its name ends in .gz.

    Returns:
        The labels, uint8 [n], n > 0, each 0 to 9; and the SHA-256 in hex of the
        file's decompressed content.

    Raises:
        InputError: the file cannot be read, or is not labels of 0 to 9.
    """
    values, sha256 = _read(path, ())
    labels = values[:, 0]
    if labels.max() >= NUM_CLASSES:
        position = int(np.argmax(labels >= NUM_CLASSES))
        raise InputError(
            f"{path}: label {labels[position]} at position {position} (from 0) is not "
            f"in 0..{NUM_CLASSES - 1}; {_REPLACE}"
        )
    return labels, sha256


def _read(path: Path, item: tuple[int, ...]) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of items of the given shape: [n, values in an item], SHA-256."""
    item_bytes = int(np.prod(item, dtype=int))
    body = bytearray()
    try:
        with _open(path) as stream:
            header = stream.read(8 + 4 * len(item))
            count = _parse_header(path, header, item)
            size = count * item_bytes
            # Chunk by chunk, because the header may claim more than memory holds;
            # and one byte further, to meet what trails, and the gzip's checksum.
            while len(body) <= size:
                chunk = stream.read(min(_CHUNK, size + 1 - len(body)))
                if not chunk:
                    break
                body += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not a whole gzip file ({error}); {_REPLACE}"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); make it a readable file"
        ) from error
    if len(body) != size:
        found = f"only {len(body)}" if len(body) < size else "more"
        raise InputError(
            f"{path}: its header says {size} bytes of data, but there are {found}; "
            f"{_REPLACE}"
        )
    sha256 = hashlib.sha256(header)
    sha256.update(body)
    return np.frombuffer(body, np.uint8).reshape(count, -1), sha256.hexdigest()


def _open(path: Path) -> BinaryIO:
    """Opens a file to read its decompressed bytes."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _magic(item: tuple[int, ...]) -> bytes:
    """Returns what a file of items of the given shape begins with."""
    return bytes([0, 0, 8, 1 + len(item)])


def _parse_header(path: Path, header: bytes, item: tuple[int, ...]) -> int:
    """Returns the number of items, which must be of the given shape."""
    magic = _magic(item)
    if not header:
        raise InputError(f"{path} is empty; {_REPLACE}")
    if not header.startswith(magic):
        raise InputError(
            f"{path} is not an IDX file of {'images' if item else 'labels'}: it starts "
            f"with {header[:4].hex()}, not {magic.hex()}; {_REPLACE}"
        )
    if len(header) < 8 + 4 * len(item):
        raise InputError(f"{path} is cut off in its header; {_REPLACE}")
    count, *shape = struct.unpack(f">{1 + len(item)}I", header[4:])
    if tuple(shape) != item:
        raise InputError(
            f"{path} holds items of {'x'.join(map(str, shape))} pixels, not "
            f"{'x'.join(map(str, item))}; {_REPLACE}"
        )
    if not count:
        raise InputError(f"{path} holds no items; {_REPLACE}")
    return int(count)
