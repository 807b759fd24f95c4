"""Strict parser of IDX, MNIST's file format.

An IDX file consists of two zero bytes, the type (8: unsigned byte), the number of
dimensions, each dimension as a big-endian uint32, and the values. MNIST is two pairs of
such files: images with three dimensions and labels with one.

Own code, because idx2numpy, the library for it, has had no release since 2020, trusts
the header's sizes when it allocates, and ignores trailing bytes.
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

IMAGE_SIZE = 28  # height and width in pixels
NUM_CLASSES = 10

_CHUNK = 1 << 20  # bytes
_REPLACE = "replace the file, or delete it so that MNIST's is downloaded"


def is_images(path: Path) -> bool:
    """Returns whether a file starts as one of images; False if it cannot be read."""
    try:
        with _open(path) as stream:
            return stream.read(4) == _magic((IMAGE_SIZE, IMAGE_SIZE))
    except (OSError, EOFError, zlib.error):
        return False


def read_images(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of grayscale images, gzipped if its name ends in .gz.

    Args:
        path: the file.

    Returns:
        The images, uint8 [n, 784], n > 0; and the SHA-256, in hex, of the decompressed
        content.

    Raises:
        InputError: the file cannot be read, or does not hold complete 28x28 images.
    """
    return _read(path, (IMAGE_SIZE, IMAGE_SIZE))


def read_labels(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of labels, gzipped if its name ends in .gz.

    Args:
        path: the file.

    Returns:
        The labels, uint8 [n], n > 0, in [0, 9]; and the SHA-256, in hex, of the
        decompressed content.

    Raises:
        InputError: the file cannot be read, or does not hold labels in [0, 9].
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
    """Reads a file of items of the given shape.

    Returns:
        The items, uint8 [n, values per item]; and the SHA-256 of the content.
    """
    item_bytes = int(np.prod(item, dtype=int))
    body = bytearray()
    try:
        with _open(path) as stream:
            header = stream.read(8 + 4 * len(item))
            count = _parse_header(path, header, item)
            size = count * item_bytes
            # In chunks, because the header may claim more than fits into memory; and
            # one byte more, to detect trailing bytes and verify gzip's checksum.
            while len(body) <= size:
                chunk = stream.read(min(_CHUNK, size + 1 - len(body)))
                if not chunk:
                    break
                body += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not a complete gzip file ({error}); {_REPLACE}"
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
    """Opens a file for reading its decompressed content."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _magic(item: tuple[int, ...]) -> bytes:
    """Returns the first bytes of a file of items of the given shape."""
    return bytes([0, 0, 8, 1 + len(item)])


def _parse_header(path: Path, header: bytes, item: tuple[int, ...]) -> int:
    """Returns the number of items; checks that they have the given shape."""
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
