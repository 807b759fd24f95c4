"""Strict parser of IDX, MNIST's file format.

An IDX file consists of two zero bytes, the type (8: unsigned byte), the number of
dimensions, each dimension as a big-endian uint32, and the values. A data set is two
pairs of such files: images with three dimensions and labels with one.

Own code, because idx2numpy, the library for it, has had no release since 2020, trusts
the header's sizes when it allocates, and ignores trailing bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data.sources import claims

_CHUNK = 1 << 20  # bytes
_REPLACE = "replace it with a complete copy"
_KINDS = {3: "images", 1: "labels"}


def is_images(path: Path) -> bool:
    """Returns whether a file starts as one of images; False if it cannot be read."""
    try:
        with _open(path) as stream:
            return stream.read(4) == _magic(3)
    except (OSError, EOFError, zlib.error):
        return False


def read_images(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of grayscale images, gzipped if its name ends in .gz.

    Args:
        path: the file.

    Returns:
        The images, uint8 [n, height, width], none of them 0; and the SHA-256, in hex,
        of the decompressed content.

    Raises:
        InputError: the file cannot be read, or does not hold complete images.
    """
    return _read(path, 3)


def read_labels(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of labels, gzipped if its name ends in .gz.

    Args:
        path: the file.

    Returns:
        The labels, uint8 [n], n > 0; and the SHA-256, in hex, of the decompressed
        content.

    Raises:
        InputError: the file cannot be read, or does not hold labels.
    """
    return _read(path, 1)


def check_lengths(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], paths: tuple[Path, Path]
) -> None:
    """Checks that there is a label for each image.

    Args:
        images: [n, ...].
        labels: [n].
        paths: files of the images and of the labels.

    Raises:
        InputError: there is not.
    """
    if len(images) != len(labels):
        raise InputError(
            f"{paths[0]} holds {len(images)} images, but {paths[1]} {len(labels)} "
            "labels; replace the one that is wrong"
        )


def _read(path: Path, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    """Reads a file of values of so many dimensions."""
    body = bytearray()
    try:
        with _open(path) as stream:
            header = stream.read(4 + 4 * dimensions)
            shape = _parse_header(path, header, dimensions)
            size = math.prod(shape)
            _check_size(path, size, len(header))
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
    return np.frombuffer(body, np.uint8).reshape(shape), sha256.hexdigest()


def _check_size(path: Path, size: int, header: int) -> None:
    """Raises InputError if a file cannot hold what its header says."""
    zipped = path.suffix == ".gz"
    most = path.stat().st_size * (claims.DEFLATED if zipped else 1) - header
    if size > most:
        raise InputError(
            f"{path}: its header says {size} bytes of data, but there are "
            f"{'at most' if zipped else 'only'} {most}; {_REPLACE}"
        )
    claims.check_memory(size, str(path))


def _open(path: Path) -> BinaryIO:
    """Opens a file for reading its decompressed content."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _magic(dimensions: int) -> bytes:
    """Returns the first bytes of a file of values of so many dimensions."""
    return bytes([0, 0, 8, dimensions])


def _parse_header(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    """Returns the shape of the values; checks that there are some."""
    magic = _magic(dimensions)
    if not header:
        raise InputError(f"{path} is empty; {_REPLACE}")
    if not header.startswith(magic):
        raise InputError(
            f"{path} is not an IDX file of {_KINDS[dimensions]}: it starts with "
            f"{header[:4].hex()}, not {magic.hex()}; {_REPLACE}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise InputError(f"{path} is cut off in its header; {_REPLACE}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if not all(shape):
        raise InputError(f"{path} holds no {_KINDS[dimensions]}; {_REPLACE}")
    return shape
