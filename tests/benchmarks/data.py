"""MNIST as arrays, for all contenders but distmnist, which loads its own data."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Numbers of examples in the train, validation and test splits.
SIZES = (55000, 5000, 10000)


class Split(NamedTuple):
    """Examples.

    Attributes:
        images: Pixels, uint8 [n, 784].
        labels: Classes, int32 [n], in [0, 10).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]


def load(directory: str) -> tuple[Split, Split, Split]:
    """Returns the train, validation and test splits.

    Args:
        directory: Directory of the four MNIST files; "" for random images of the same
            shape and number, which take the same time.
    """
    if not directory:
        return random_splits()
    images = _read(directory, "train-images-idx3-ubyte", 16).reshape(-1, 784)
    labels = _read(directory, "train-labels-idx1-ubyte", 8).astype(np.int32)
    held_out = SIZES[1]
    return (
        Split(images[held_out:], labels[held_out:]),
        Split(images[:held_out], labels[:held_out]),
        Split(
            _read(directory, "t10k-images-idx3-ubyte", 16).reshape(-1, 784),
            _read(directory, "t10k-labels-idx1-ubyte", 8).astype(np.int32),
        ),
    )


def random_splits() -> tuple[Split, Split, Split]:
    """Returns splits of random images and labels."""
    random = np.random.RandomState(0)
    train, validation, test = (
        Split(
            random.randint(0, 256, (size, 784), np.uint8),
            random.randint(0, 10, size, np.int32),
        )
        for size in SIZES
    )
    return train, validation, test


def is_mnist(directory: str) -> bool:
    """Returns whether a directory contains MNIST."""
    return any(Path(directory).glob("train-images-idx3-ubyte*"))


def _read(directory: str, name: str, header: int) -> NDArray[np.uint8]:
    """Reads an IDX file, plain or gzipped, skipping `header` bytes."""
    path = Path(directory, name)
    content = (
        path.read_bytes()
        if path.exists()
        else gzip.decompress(Path(f"{path}.gz").read_bytes())
    )
    return np.frombuffer(content, np.uint8, offset=header)
