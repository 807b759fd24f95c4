"""Data sets from arrays, or from anything with random access to its examples.

Of NumPy's arrays, of PyTorch's and of Hugging Face's data sets:

    create_dataset((x_train, y_train), test=(x_test, y_test))
    create_dataset(Items(torch_dataset), test=Items(torch_test))
    create_dataset(Columns(hf["train"], "image", "label"))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data import preparation
from distmnist.data.dataset import (
    SPLITS,
    Augment,
    Dataset,
    create_split,
    fingerprint,
)
from distmnist.data.spec import DatasetSpec

_BATCH = 1024  # examples that are read from a source at a time


class RandomAccess(Protocol):
    """A source of examples in a fixed order."""

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, indices: NDArray[np.int64]) -> tuple[Any, Any]:
        """Returns the features and the targets of examples, as arrays [n, ...].

        Args:
            indices: int64 [n], in [0, len(self)).
        """


class Items(NamedTuple):
    """A source of single examples, such as PyTorch's map-style data sets.

    Attributes:
        items: `items[i]` is the pair of features and target of example i, and
            `len(items)` their number.
    """

    items: Any

    def read(self) -> tuple[Any, Any]:
        """Returns all features and targets."""
        pairs = [self.items[index] for index in range(len(self.items))]
        features, targets = zip(*pairs) if pairs else ((), ())
        return [np.asarray(x) for x in features], [np.asarray(y) for y in targets]


class Columns(NamedTuple):
    """Two columns of a table, such as Hugging Face's data sets.

    Attributes:
        table: `table[features]` and `table[targets]` are the columns.
        features: name of the column of features.
        targets: name of the column of targets.
    """

    table: Any
    features: str
    targets: str

    def read(self) -> tuple[Any, Any]:
        """Returns all features and targets."""
        features, targets = (
            [np.asarray(value) for value in self.table[name]]
            for name in (self.features, self.targets)
        )
        return features, targets


def create_dataset(
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    name: str = "arrays",
    source: str = "arrays in memory",
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    regression: bool = False,
    normalize: bool = False,
    feature_names: Sequence[str] = (),
    target_name: str = "",
    augment: Augment | None = None,
) -> Dataset:
    """Creates a data set of examples that fit into memory.

    A split is a pair of features and targets, arrays [n, ...]; or `Items` or `Columns`;
    or any source with random access, see `RandomAccess`. A split that is missing is
    cut from the training examples: a tenth of them, of each class, always the same.

    uint8 features are scaled to [0, 1]; other integers reach the network as they are,
    int32; floats as they are, unless they are normalized. Integers and strings are
    classes, floats are numbers; these are normalized for training.

    Args:
        train: training split.
        validation: validation split.
        test: test split.
        name: short name, stored in checkpoints.
        source: where the examples come from, in words.
        num_classes: number of classes; by default, one more than the greatest label of
            the training split.
        class_names: names of the classes, in the order of the labels.
        regression: whether integer targets are numbers, rather than classes.
        normalize: whether features are normalized to a mean of 0 and a standard
            deviation of 1, those of the training split: of each feature if they are
            vectors, else of all.
        feature_names: names of the columns of a table.
        target_name: name of the column with the targets.
        augment: changes the features of training batches at random.

    Raises:
        InputError: the examples are invalid, with the split and the row.
    """
    given = {"train": train, "validation": validation, "test": test}
    read = {
        split: _read(value, f"{source}: {split} split")
        for split, value in given.items()
        if value is not None
    }
    encoded, names = preparation.encode(
        read, regression, tuple(class_names), num_classes, source
    )
    preparation.hold_out(encoded, bool(names), source)
    features, targets = encoded["train"]
    if normalize and features.dtype == np.int32:  # or they would be identifiers
        encoded = {k: (x.astype(np.float32), y) for k, (x, y) in encoded.items()}
        features = encoded["train"][0]
    spec = DatasetSpec(
        feature_shape=features.shape[1:],
        num_classes=len(names) or None,
        class_names=names,
        feature_dtype=str(features.dtype),
        target_shape=targets.shape[1:],
        feature_names=tuple(feature_names),
        target_name=target_name,
        **(preparation.moments("feature", features) if normalize else {}),
        **({} if names else preparation.moments("target", targets)),
    )
    parts = [create_split(*encoded[split]) for split in SPLITS]
    content = fingerprint(*parts) + json.dumps(spec.to_json(), sort_keys=True)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Dataset(
        name,
        source,
        sha256,
        spec,
        **dict(zip(SPLITS, parts)),
        augment=augment,
    )


def _read(given: Any, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns all features and targets of a split, as many of one as of the other."""
    features, targets = _read_raw(given, where)
    arrays = _features(features, where), _targets(targets, where)
    if len(arrays[0]) != len(arrays[1]):
        raise InputError(
            f"{where}: {len(arrays[0])} examples, but {len(arrays[1])} targets; give "
            "one for each"
        )
    return arrays


def _read_raw(given: Any, where: str) -> tuple[Any, Any]:
    """Returns all features and targets of a source, unchecked."""
    if isinstance(given, (Items, Columns)):
        return given.read()
    if isinstance(given, (tuple, list)) and len(given) == 2:
        features, targets = given
        return features, targets
    if isinstance(given, (Mapping, Sequence)) or not (
        hasattr(given, "__len__") and hasattr(given, "__getitem__")
    ):
        raise InputError(
            f"{where}: is of type {type(given).__name__}; give a pair of features and "
            "targets, or a source with random access; see Items and Columns"
        )
    parts = []
    for first in range(0, len(given), _BATCH):
        part = given[np.arange(first, min(first + _BATCH, len(given)))]
        if not (isinstance(part, (tuple, list)) and len(part) == 2):
            raise InputError(
                f"{where}: a {type(given).__name__}, whose [indices] is a "
                f"{type(part).__name__}, not a pair of features and targets; see Items "
                "and Columns"
            )
        parts.append(part)
    if not parts:
        raise InputError(f"{where}: is empty; give at least one example")
    features, targets = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    return features, targets


def _array(values: Any, what: str, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:  # examples of several shapes
        array = np.empty(0, object)
    if array.dtype == object:
        shapes = [np.shape(value) for value in values]
        other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0)
        if other:
            raise InputError(
                f"{where}, example {other}: {what} of shape {shapes[other]}, but "
                f"example 0 has {shapes[0]}; give all examples one shape"
            )
        raise InputError(f"{where}: the {what} are Python objects; give numbers")
    if not array.ndim or not array.size:
        raise InputError(f"{where}: is empty; give at least one example")
    return array


def _features(values: Any, where: str) -> NDArray[Any]:
    """Returns features as uint8, int32 or float32 [n, ...]."""
    array = _array(values, "features", where)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(
                f"{where}: the features exceed 32 bits; give smaller integers, or "
                "floats"
            )
        return array.astype(np.int32)
    if array.dtype.kind in "fb":
        with np.errstate(over="ignore"):  # infinity, which is refused
            return array.astype(np.float32, copy=False)
    if array.dtype != np.uint8:
        raise InputError(
            f"{where}: the features are of type {array.dtype}; give numbers"
        )
    return array


def _targets(values: Any, where: str) -> NDArray[Any]:
    """Returns targets as integers, floats or strings [n, ...]."""
    array = _array(values, "targets", where)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "iubfUS":
        raise InputError(
            f"{where}: the targets are of type {array.dtype}; give numbers, or names "
            "of classes"
        )
    return array.astype(str) if array.dtype.kind == "S" else array
