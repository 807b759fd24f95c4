"""Data sets in memory: three splits and the specification of their examples."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError

FEATURE_DTYPES = ("uint8", "int32", "float32")
SPLITS = ("train", "validation", "test")

Augment = Callable[[Any, Any], Any]
"""Takes features of a batch, float32 or int32 [batch, *feature_shape], as the network
would get them, and the batch's random numbers, `data.random.Random`; returns features
of the same shape. It runs in the graph, in training only."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a network must know of a data set: shapes, types, classes, normalization.

    It is saved in checkpoints, as JSON.

    Attributes:
        feature_shape: shape of one example's features: height, width and channels
            for images.
        num_classes: number of classes; None: the targets are numbers (regression).
        class_names: name of each class, in the order of its targets; by default,
            "0", "1" and so on.
        feature_dtype: uint8 and float32 reach the network as float32, normalized; int32
            (tokens, identifiers) reaches it as it is.
        feature_mean: subtracted from features; one number, or one for each feature, in
            row-major order.
        feature_std: features are divided by it, likewise; by default 255 for uint8,
            which maps it to [0, 1], and 1 for float32.
        target_shape: shape of one example's target; () for a class or a number.
        target_mean: subtracted from targets that are numbers; the network is trained
            on, and returns, normalized ones. One number, or one for each.
        target_std: such targets are divided by it, likewise.
        feature_names: names of the columns of a table; else empty.
        target_name: name of the column with the targets; else empty.
    """

    feature_shape: tuple[int, ...]
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    feature_dtype: str = "uint8"
    feature_mean: float | tuple[float, ...] = 0.0
    feature_std: float | tuple[float, ...] | None = None
    target_shape: tuple[int, ...] = ()
    target_mean: float | tuple[float, ...] = 0.0
    target_std: float | tuple[float, ...] = 1.0
    feature_names: tuple[str, ...] = ()
    target_name: str = ""

    def __post_init__(self) -> None:
        """Completes defaults, and checks what is given.

        Raises:
            InputError: a value is wrong.
        """
        if self.feature_std is None:
            std = 255.0 if self.feature_dtype == "uint8" else 1.0
            object.__setattr__(self, "feature_std", std)
        if self.num_classes is not None and not self.class_names:
            names = tuple(str(label) for label in range(self.num_classes))
            object.__setattr__(self, "class_names", names)
        if self.feature_dtype not in FEATURE_DTYPES:
            raise InputError(
                f"DatasetSpec: feature_dtype={self.feature_dtype!r}: must be one of "
                f"{', '.join(FEATURE_DTYPES)}"
            )
        if self.num_classes is not None and self.num_classes < 1:
            raise InputError(
                f"DatasetSpec: num_classes={self.num_classes}: must be at least 1, or "
                "None for targets that are numbers"
            )
        if len(self.class_names) != (self.num_classes or 0):
            raise InputError(
                f"DatasetSpec: {len(self.class_names)} class_names for "
                f"{self.num_classes} classes: give one for each"
            )

    @property
    def num_features(self) -> int:
        """Number of features of one example."""
        return math.prod(self.feature_shape)

    @property
    def target_dtype(self) -> str:
        """Type of the targets: int32 for classes, else float32."""
        return "float32" if self.num_classes is None else "int32"

    @property
    def is_image(self) -> bool:
        """Whether an example is an image, gray or in color."""
        shape = self.feature_shape
        return self.feature_dtype == "uint8" and len(shape) == 3 and shape[-1] in (1, 3)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes, as JSON has them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetSpec:
        """Returns the spec with the attributes that `to_json` returned."""
        known = {field.name for field in dataclasses.fields(cls)}
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
        return cls(**fields)


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
    train: Split
    validation: Split
    test: Split
    augment: Augment | None = None

    def __post_init__(self) -> None:
        """Brings the splits into the spec's shapes, and checks them."""
        for name in SPLITS:
            split = _conform(getattr(self, name), self.spec, f"{self.source}: {name}")
            object.__setattr__(self, name, split)

    @property
    def splits(self) -> dict[str, Split]:
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
