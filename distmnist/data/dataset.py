"""Data sets in memory: three splits and the specification of their examples."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DatasetSpec:
    """Shapes and classes of a data set, known before any example is read.

    Attributes:
        feature_shape: shape of one example's features: height, width and channels
            for images.
        num_classes: number of classes.
        class_names: name of each class, in the order of its targets.
    """

    feature_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]

    @property
    def num_features(self) -> int:
        """Number of features of one example."""
        return math.prod(self.feature_shape)


class Split(NamedTuple):
    """Examples in a fixed order.

    Attributes:
        features: uint8 [n, num_features], each example in row-major order, in
            [0, 255]; read-only.
        targets: int32 [n], in [0, num_classes); read-only.
    """

    features: NDArray[np.uint8]
    targets: NDArray[np.int32]

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.targets)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: its splits, none of them empty, and their origin.

    Attributes:
        name: short name, stored in checkpoints.
        source: where the examples came from, in words.
        fingerprint: SHA-256 of the content, in hex. Ranks that read from different
            disks compare it, and so does a resumed run.
        spec: shapes and classes of the examples.
        train: training split.
        validation: split held out of the training examples.
        test: test split.
    """

    name: str
    source: str
    fingerprint: str
    spec: DatasetSpec
    train: Split
    validation: Split
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def create_split(
    features: NDArray[np.uint8], targets: NDArray[np.integer[Any]]
) -> Split:
    """Creates a split; its arrays are made read-only, because they are shared.

    Args:
        features: uint8 [n, num_features].
        targets: integers [n], in [0, num_classes).
    """
    split = Split(features, targets.astype(np.int32))
    for array in split:
        array.setflags(write=False)
    return split


def fingerprint(*splits: Split) -> str:
    """Returns the SHA-256 of the content of splits, in hex."""
    sha256 = hashlib.sha256()
    for split in splits:
        sha256.update(str(split.size).encode())
        sha256.update(split.features.data)
        sha256.update(split.targets.astype("<i4").tobytes())
    return sha256.hexdigest()
