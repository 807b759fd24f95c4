"""Data sets: three splits of examples, in memory or read when they are needed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec

SPLITS = ("train", "validation", "test")

Augment = Callable[[Any, Any], Any]
"""Takes features of a batch, float32 or int32 [batch, *feature_shape], as the network
would get them, and the batch's random numbers, `data.random.Random`; returns features
of the same shape. It runs in the graph, in training only."""


class Split(NamedTuple):
    """Examples in a fixed order.

    Attributes:
        features: uint8, int32 or float32 [n, *feature_shape]; read-only.
        targets: int32 [n, *target_shape], in [0, num_classes), or float32; read-only.
    """

    features: NDArray[Any]
    targets: NDArray[Any]

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.targets)

    def take(self, indices: NDArray[Any]) -> Split:
        """Returns some examples, as arrays; see `Examples.take`."""
        return Split(*(np.asarray(array)[indices] for array in self))


class Examples(Protocol):
    """Examples in a fixed order, of which some are read at a time."""

    @property
    def size(self) -> int:
        """Number of examples."""

    def take(self, indices: NDArray[Any]) -> Split:
        """Reads examples.

        Args:
            indices: of the examples, integers [n].

        Returns:
            Features and targets, in the order of the indices.

        Raises:
            UserError: one cannot be read, or is damaged.
        """


class StreamedSplit(Examples, Protocol):
    """A split whose examples are read when they are needed."""

    def expect(self, indices: NDArray[Any]) -> None:
        """Has examples read ahead, without waiting for them; see `take`."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: its splits, none of them empty, and their origin.

    `data.arrays.create_dataset`, which is `distmnist.create_dataset`, makes one of
    arrays or other sources of examples.

    Attributes:
        name: short name, stored in checkpoints.
        source: where the examples came from, in words.
        fingerprint: SHA-256 of the content, in hex. Ranks that read from different
            disks compare it, and so does a resumed run.
        spec: shapes and classes of the examples.
        train: training split.
        validation: split held out of the training examples.
        test: test split.
        augment: changes the features of training batches at random; None: nothing.

    Raises:
        InputError: a split is empty, or does not match the spec.
    """

    name: str
    source: str
    fingerprint: str
    spec: DatasetSpec
    train: Split | StreamedSplit
    validation: Split | StreamedSplit
    test: Split | StreamedSplit
    augment: Augment | None = None

    def __post_init__(self) -> None:
        """Brings the splits into the spec's shapes, and checks them."""
        for name in SPLITS:
            split = getattr(self, name)
            if isinstance(split, Split):
                split = _conform(split, self.spec, f"{self.source}: {name}")
                object.__setattr__(self, name, split)

    @property
    def splits(self) -> dict[str, Split | StreamedSplit]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}


def create_split(features: NDArray[Any], targets: NDArray[Any]) -> Split:
    """Creates a split; its arrays are made read-only, because they are shared.

    Args:
        features: uint8, int32 or float32 [n, ...]; they stay writable to the caller.
        targets: integers [n], in [0, num_classes), or floats [n, ...].
    """
    kind = np.float32 if targets.dtype.kind == "f" else np.int32
    split = Split(np.ascontiguousarray(features).view(), targets.astype(kind))
    for array in split:
        array.setflags(write=False)
    return split


def fingerprint(*splits: Split) -> str:
    """Returns the SHA-256 of the content of splits, in hex."""
    sha256 = hashlib.sha256()
    for split in splits:
        sha256.update(str(split.size).encode())
        for array in split:
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            sha256.update(np.ascontiguousarray(little_endian).data)
    return sha256.hexdigest()


def _conform(split: Split, spec: DatasetSpec, where: str) -> Split:
    """Returns a split in the shapes of a spec.

    Raises:
        InputError: it does not match the spec, or is empty.
    """
    features, targets = split
    if len(features) != len(targets):
        raise InputError(
            f"{where} split: {len(features)} examples, but {len(targets)} targets; "
            "give one for each"
        )
    if not len(targets):
        raise InputError(f"{where} split: is empty; give at least one example")
    if features.dtype != spec.feature_dtype or targets.dtype != spec.target_dtype:
        raise InputError(
            f"{where} split: features of type {features.dtype} and targets of type "
            f"{targets.dtype}, but the spec says {spec.feature_dtype} and "
            f"{spec.target_dtype}; convert them, or change the spec"
        )
    shaped = []
    for array, shape, what in (
        (features, spec.feature_shape, "features"),
        (targets, spec.target_shape, "targets"),
    ):
        if not _is_alike(array.shape[1:], shape):
            raise InputError(
                f"{where} split: {what} of shape {as_sizes(array.shape[1:])}, but the "
                f"spec says {as_sizes(shape)}; give examples of one shape"
            )
        shaped.append(array.reshape(len(array), *shape))
    conforming = Split(*shaped)
    check_values(*conforming, num_classes=spec.num_classes, where=f"{where} split")
    for array in shaped:
        array.setflags(write=False)
    return conforming


def check_values(
    features: NDArray[Any],
    targets: NDArray[Any],
    num_classes: int | None,
    where: str,
) -> None:
    """Checks that each label is a class, and each number finite.

    Args:
        features: [n, ...].
        targets: integers or floats [n, ...].
        num_classes: number of classes; None: the targets are numbers.
        where: the split, for messages.

    Raises:
        InputError: one is not, with its example.
    """
    if num_classes is not None:
        wrong = (targets < 0) | (targets >= num_classes)
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise InputError(
                f"{where}, example {row}: label {targets[wrong][0]}, but there are "
                f"{num_classes} classes, 0 to {num_classes - 1}; correct the label, or "
                "the number of classes"
            )
    for array, what in ((features, "feature"), (targets, "target")):
        # The sum of all is finite only if each is; it takes no memory.
        if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise InputError(
                f"{where}, example {row}: a {what} is not a finite number; correct or "
                "remove the example"
            )


def _is_alike(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Returns whether examples are flat, or lack no dimension but those of size 1."""
    sizes = ([size for size in each if size != 1] for each in (found, shape))
    return found == (math.prod(shape),) or next(sizes) == next(sizes)


def as_sizes(shape: tuple[int, ...]) -> str:
    """Returns a shape for messages: "28x28x1", or "()"."""
    return "x".join(map(str, shape)) or "()"
