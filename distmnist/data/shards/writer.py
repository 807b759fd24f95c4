"""Writes shards: each whole or not at all, and the same bytes whenever it is tried."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distmnist.core.whole_files import whole_file
from distmnist.data.dataset import Split
from distmnist.data.shards import records
from distmnist.data.shards.index import Shard

_LEVEL = 1  # of zlib: higher ones take longer, and save a few percent


def write(
    path: Path, examples: Iterable[Split], compression: str = "none"
) -> Shard | None:
    """Writes a shard, and has it reach the disk.

    Args:
        path: the file; replaced if it is there.
        examples: its examples, some at a time.
        compression: one of `index.COMPRESSIONS`.

    Returns:
        What the index has of it; None if there are no examples, and no file.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    rows = (row for part in examples for row in _rows(part))
    first = next(rows, None)
    if first is None:
        return None
    sha256, sizes = hashlib.sha256(), list[int]()
    with whole_file(path) as hidden, hidden.open("xb", buffering=1 << 20) as file:
        for row in itertools.chain([first], rows):
            sha256.update(row)
            data = zlib.compress(row, _LEVEL) if compression == "zlib" else row
            sizes.append(len(data))
            file.write(records.framed(data))
        seal = sha256.digest()
        if compression != "none":
            seal += np.array(sizes, "<u4").tobytes()
        file.write(records.framed(seal))
        size = file.tell()
    return Shard(path.name, len(sizes), size, sha256.hexdigest())


def _rows(split: Split) -> Iterable[bytes]:
    """Returns the data of each example: features and target, little-endian."""
    arrays = []
    for array in split:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        arrays.append(
            np.ascontiguousarray(little).reshape(len(array), -1).view(np.uint8)
        )
    return (b"".join((row.data, target.data)) for row, target in zip(*arrays))
