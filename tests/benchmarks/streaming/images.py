"""Prepares random color images, of any total size.

python -m tests.benchmarks.streaming.images [--gigabytes=8] [--side=224] DIRECTORY
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.data.dataset import Split
from distmnist.data.shards import parallel
from distmnist.data.shards.examples import Unprepared
from distmnist.data.shards.preparation import Preparation
from distmnist.data.spec import DatasetSpec
from distmnist.distributed import cores

_CLASSES = 10


class Images(NamedTuple):
    """Random images, the same whenever they are read.

    Attributes:
        size: their number.
        shape: of one.
        seed: of the random numbers.
    """

    size: int
    shape: tuple[int, ...]
    seed: int

    def take(self, indices: NDArray[Any]) -> Split:
        """Returns images, in which the first value says the class."""
        random = np.random.Generator(np.random.PCG64([self.seed, int(indices[0])]))
        shape = (len(indices), *self.shape)
        images = np.frombuffer(random.bytes(int(np.prod(shape))), np.uint8)
        labels = (indices % _CLASSES).astype(np.int32)
        images = images.reshape(shape).copy()
        images[:, 0, 0, 0] = labels
        return Split(images, labels)


def prepare(directory: Path, gigabytes: float, side: int) -> None:
    """Prepares images, nine tenths of them for training.

    Args:
        directory: where to.
        gigabytes: size of all.
        side: height and width of each, in pixels.
    """
    spec = DatasetSpec((side, side, 3), _CLASSES)
    count = int(gigabytes * 1e9 / spec.example_bytes)
    sizes = {
        "train": count * 9 // 10,
        "validation": count // 20,
        "test": count // 20,
    }
    splits = {
        name: Images(size, spec.feature_shape, seed)
        for seed, (name, size) in enumerate(sizes.items())
    }
    origin = f"random images {sizes} {side}"
    writing = Preparation(
        directory, Unprepared("images", "random images", origin, spec, splits)
    )
    parts = writing.begin()
    if parts is None:
        return
    for written in parallel.write(writing, parts, cores.available(), lambda _: None):
        writing.note(written)
    writing.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    prepare(options.directory, options.gigabytes, options.side)
