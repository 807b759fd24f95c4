"""Small files in MNIST's format, and sources that read them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.data.sources import Source, mnist
from distmnist.data.sources.auto import Auto
from distmnist.data.sources.digits import Digits
from distmnist.data.sources.mnist import Mnist
from distmnist.data.sources.synthetic import Synthetic

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES = tuple(mnist.SHA256)

Files = dict[str, bytes]  # content by name

_SOURCES = {"auto": Auto, "mnist": Mnist, "digits": Digits, "fake": Synthetic}


def source(dataset: str, directory: Path | str, *mirrors: str) -> Source:
    """Creates a source of data.

    Args:
        dataset: its name.
        directory: directory of MNIST's files.
        mirrors: base URLs to download from; by default one that fails at once.
    """
    return _SOURCES[dataset](
        Config(
            input_data_dir=str(directory),
            mnist_mirrors=mirrors or ("no-scheme",),
            fake_sizes=(30, 20, 10),
            seed=0,
        )
    )


def idx(values: NDArray[Any]) -> bytes:
    """Encodes values as IDX, independently of the code under test."""
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def small_files(train: int = 36, test: int = 6) -> Files:
    """Creates the content of four files in MNIST's format."""
    random = np.random.RandomState(1)
    content = {}
    for names, size in (
        ((TRAIN_IMAGES, TRAIN_LABELS), train),
        ((TEST_IMAGES, TEST_LABELS), test),
    ):
        content[names[0]] = idx(random.randint(0, 256, (size, 28, 28)))
        content[names[1]] = idx(random.randint(0, 10, size))
    return content


def put(directory: Path, files: Files) -> Path:
    """Writes files into a directory, and returns it."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory
