"""What files claim of their own size, checked before memory is taken for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError

DEFLATED = 1032  # bytes that one byte of gzip or zip can hold at most
_HEADERS: dict[tuple[int, int], Callable[[BinaryIO], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ObjectsError(ValueError):
    """An array holds Python objects."""


def check_memory(size: int, where: str) -> None:
    """Checks that values can fit into this machine's memory.

    Args:
        size: in bytes, as a file claims it.
        where: the file, for messages.

    Raises:
        InputError: they cannot.
    """
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise InputError(
            f"{where}: says that it holds {size / 2**30:,.0f} GiB, which do not fit "
            "into memory; give fewer or smaller examples, or replace the file"
        )


def read_npy(file: BinaryIO, size: int, where: str) -> NDArray[np.generic]:
    """Reads an array in NumPy's format.

    Args:
        file: at its beginning, and seekable.
        size: of the file, in bytes.
        where: the file, for messages.

    Raises:
        InputError: it does not fit into memory.
        ObjectsError: it holds Python objects.
        ValueError: it is malformed, or of another size than its header says.
        OSError: it cannot be read.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError("it holds named fields")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ObjectsError("holds Python objects, which are never unpickled")
    claimed = dtype.itemsize
    for length in shape:
        if not isinstance(length, int) or length < 0:
            raise ValueError(f"no valid shape: {shape}")
        claimed *= length
    found = size - file.tell()
    if claimed != found:
        raise ValueError(f"its header says {claimed} bytes, but there are {found}")
    check_memory(claimed, where)
    file.seek(0)
    array: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    return array
