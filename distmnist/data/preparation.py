"""What makes a data set of examples: classes, the splits that are missing, moments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data.dataset import check_values

Arrays = tuple[NDArray[Any], NDArray[Any]]
"""Features and targets of a split, [n, ...]."""

# Of each this many training examples, one goes into a split that is missing.
_HELD_OUT = 10

_CHUNK = 65536  # rows at a time

# Integers that are more than this, and more than the examples, can't be classes.
_MANY_CLASSES = 1000


def encode(
    splits: dict[str, Arrays],
    regression: bool,
    class_names: tuple[str, ...],
    num_classes: int | None,
    source: str,
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Makes numbers of targets, and checks all values.

    Args:
        splits: splits by name; the targets are integers, floats or strings.
        regression: whether integers are numbers, rather than classes.
        class_names: names of the classes; (): those of the training split, sorted.
        num_classes: number of classes; None: as many as the training split has.
        source: where the examples come from, for messages.

    Returns:
        The splits, with targets in the range of the classes, or float32; and the names
        of the classes, () if the targets are numbers.

    Raises:
        InputError: the targets are neither classes nor numbers, or a value is invalid;
            with the split and the example.
    """
    kinds = {targets.dtype.kind for _, targets in splits.values()}
    if "U" in kinds and len(kinds) > 1:
        raise InputError(
            f"{source}: the targets are names in one split and numbers in another; "
            "give the same in all"
        )
    if regression or "f" in kinds:
        names: tuple[str, ...] = ()
        if "U" in kinds:
            raise InputError(f"{source}: the targets are names; give numbers")
        if class_names or num_classes:
            raise InputError(
                f"{source}: the targets are numbers, but classes are given; give "
                "integers or names, or no classes"
            )
        splits = {k: (x, y.astype(np.float32)) for k, (x, y) in splits.items()}
    elif "U" in kinds:
        names = class_names or _names(splits["train"][1], source)
        splits = {
            k: (x, _labels(y, names, f"{source}: {k} split"))
            for k, (x, y) in splits.items()
        }
    else:
        for split, (_, targets) in splits.items():
            _check_labels(targets, f"{source}: {split} split")
        count = num_classes or len(class_names) or _count(splits["train"][1], source)
        names = class_names or tuple(str(label) for label in range(count))
    if num_classes and len(names) != num_classes:
        raise InputError(
            f"{source}: {len(names)} classes, but num_classes={num_classes}; give the "
            "same number"
        )
    for split, (features, targets) in splits.items():
        where = f"{source}: {split} split"
        check_values(features, targets, len(names) or None, where)
    return splits, names


def _names(targets: NDArray[Any], source: str) -> tuple[str, ...]:
    """Returns the names that occur, sorted: the same on every machine."""
    if targets.ndim != 1:
        raise InputError(
            f"{source}: the targets are {targets.ndim}-dimensional names; give one "
            "name for each example"
        )
    return tuple(np.unique(targets).tolist())


def _labels(
    targets: NDArray[Any], names: tuple[str, ...], where: str
) -> NDArray[np.int64]:
    """Returns the labels of targets that are names."""
    index = {name: label for label, name in enumerate(names)}
    labels = [index.get(name, -1) for name in targets.ravel().tolist()]
    if -1 in labels:
        row = labels.index(-1)
        raise InputError(
            f"{where}, example {row}: class {str(targets[row])!r} is none of the "
            "classes, which are those of the training split if none are given; correct "
            "it, or add it to them"
        )
    return np.array(labels, np.int64)


def _check_labels(targets: NDArray[Any], where: str) -> None:
    """Raises InputError if integer targets can't be labels."""
    if targets.ndim > 1 and targets.min() >= 0 and (targets.sum(-1) == 1).all():
        raise InputError(
            f"{where}: the targets are one-hot; give the labels, as "
            "targets.argmax(axis=-1) does"
        )
    if targets.min() < 0:
        wrong = targets < 0
        row = int(np.argwhere(wrong)[0][0])
        raise InputError(
            f"{where}, example {row}: label {targets[wrong][0]}; labels start at 0, "
            "and numbers need regression=True (--task=regression)"
        )


def _count(targets: NDArray[Any], source: str) -> int:
    """Returns the number of classes of the integers of the training split."""
    count = int(targets.max()) + 1
    if count > max(_MANY_CLASSES, targets.size):
        raise InputError(
            f"{source}: train split, example {int(np.argmax(targets))}: label "
            f"{count - 1} is too great for a class; numbers need regression=True "
            "(--task=regression), classes num_classes"
        )
    return count


def hold_out(splits: dict[str, Arrays], classes: bool, source: str) -> None:
    """Cuts the splits that are missing from the training split.

    Args:
        splits: splits by name, to which those that are missing are added.
        classes: whether the targets are classes, each of which is cut.
        source: where the examples come from, for messages.

    Raises:
        InputError: there are too few examples.
    """
    missing = [split for split in ("test", "validation") if split not in splits]
    for draw, split in enumerate(missing):
        features, targets = splits["train"]
        stratify = classes and targets.ndim == 1
        held_out = _stratified(targets if stratify else np.zeros(len(targets)), draw)
        if not held_out.any():
            raise InputError(
                f"{source}: {len(targets)} training examples are too few to hold some "
                f"out for {split}; give more, or a {split} split"
            )
        splits[split] = (features[held_out], targets[held_out])
        splits["train"] = (features[~held_out], targets[~held_out])


def _stratified(strata: NDArray[Any], draw: int) -> NDArray[np.bool_]:
    """Chooses a tenth of the examples, of each stratum as exactly as possible.

    Not scikit-learn's: the choice must be the same with every version of it, and for
    every seed of a run. The stream of RandomState is frozen (NEP 19).

    Args:
        strata: stratum of each example, [n].
        draw: index of this choice; each is another.

    Returns:
        Whether each example is chosen, [n]; never the only one of its stratum.
    """
    order = np.random.RandomState([0, draw]).permutation(len(strata))
    _, inverse, counts = np.unique(strata, return_inverse=True, return_counts=True)
    order = order[counts[inverse[order]] > 1]
    # Sorted by stratum, in random order within each; then each tenth is taken.
    order = order[np.argsort(strata[order], kind="stable")]
    chosen = np.zeros(len(strata), bool)
    chosen[order[_HELD_OUT // 2 :: _HELD_OUT]] = True
    return chosen


def moments(prefix: str, values: NDArray[Any]) -> dict[str, Any]:
    """Returns the fields of a spec for the mean and the standard deviation.

    Args:
        prefix: "feature" or "target".
        values: numbers, [n] or [n, size], each of which has its own moments; or of more
            dimensions, such as images, which have those of all their numbers.
    """
    size = values.shape[1] if values.ndim == 2 else 1
    rows = values.reshape(-1, size)
    mean = _mean(rows, 0.0, 1)
    deviation = np.sqrt(_mean(rows, mean, 2))
    # As float32, which the network computes with: the last bits of float64 could
    # differ between machines, and with them the data set's fingerprint.
    mean, std = mean.astype(np.float32), deviation.astype(np.float32)
    # A constant stays 0 after the mean is subtracted; its deviation may be rounded.
    constant = rows.min(axis=0) == rows.max(axis=0)
    mean = np.where(constant, rows[0], mean)
    std = np.where(constant | (std == 0), 1, std)
    if size == 1:
        return {f"{prefix}_mean": float(mean[0]), f"{prefix}_std": float(std[0])}
    return {
        f"{prefix}_mean": tuple(map(float, mean)),
        f"{prefix}_std": tuple(map(float, std)),
    }


def _mean(rows: NDArray[Any], center: Any, power: int) -> NDArray[np.float64]:
    """Returns the mean of a power of the distances from a center, of each column."""
    total = np.zeros(rows.shape[1])
    for first in range(0, len(rows), _CHUNK):  # as float64, all would take memory
        part = rows[first : first + _CHUNK].astype(np.float64) - center
        total += (part**power).sum(axis=0)
    return total / len(rows)
