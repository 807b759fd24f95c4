"""The specification of a data set's examples, and what must agree within it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distmnist.core.errors import InputError

FEATURE_DTYPES = ("uint8", "int32", "float32")


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
    def feature_bytes(self) -> int:
        """Bytes of one example's features."""
        return self.num_features * np.dtype(self.feature_dtype).itemsize

    @property
    def target_bytes(self) -> int:
        """Bytes of one example's target."""
        return math.prod(self.target_shape) * np.dtype(self.target_dtype).itemsize

    @property
    def example_bytes(self) -> int:
        """Bytes of one example."""
        return self.feature_bytes + self.target_bytes

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


def check_classes(values: Any) -> None:
    """Checks that classes have names, which a spec would make up for any number.

    Args:
        values: what JSON has, with a "spec"; not checked yet.

    Raises:
        ValueError: they have none.
    """
    spec = values.get("spec") if isinstance(values, dict) else None
    if (
        isinstance(spec, dict)
        and spec.get("num_classes")
        and not spec.get("class_names")
    ):
        raise ValueError("the classes have no names")


def check_sizes(spec: DatasetSpec) -> None:
    """Checks sizes that must agree.

    Raises:
        ValueError: they do not.
    """
    for shape, moments in (
        (spec.feature_shape, (spec.feature_mean, spec.feature_std)),
        (spec.target_shape, (spec.target_mean, spec.target_std)),
    ):
        if min(shape, default=1) < 1 or math.prod(shape) >= 2**31:
            raise ValueError(f"no valid shape of examples: {shape}")
        for moment in moments:
            if isinstance(moment, tuple) and len(moment) != math.prod(shape):
                raise ValueError("no mean and deviation for each value of an example")
