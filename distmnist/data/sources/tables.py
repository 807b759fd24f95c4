"""--dataset=FILE.csv or .parquet, or a directory of train.csv and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import SPLITS, Dataset
from distmnist.data.sources import folders
from distmnist.data.sources.table_files import Table

SUFFIXES = (".csv", ".parquet")

# More distinct integers than this are numbers; the help of --task says so.
_MOST_INTEGER_CLASSES = 20


def is_name(name: str) -> bool:
    """Returns whether a file name is that of a training split."""
    return name in [f"train{suffix}" for suffix in SUFFIXES]


def load(path: Path, config: Config) -> Dataset:
    """Reads a table, or one for each split.

    All columns but the target are features, which must be numbers.

    Args:
        path: a file, or the directory of train.csv or train.parquet and, optionally,
            those of validation and test.
        config: run configuration.

    Raises:
        InputError: a file, a column or a cell is invalid.
    """
    tables = {split: Table(file) for split, file in _find_files(path).items()}
    target = config.target
    names = tables["train"].names
    if target not in names:
        wrong = f"={target}" if target else ""
        raise InputError(
            f"flag --target{wrong}: {'no' if target else 'name the'} column of "
            f"{tables['train'].path}; its columns are {', '.join(names)}"
        )
    features = [name for name in names if name != target]
    if not features:
        raise InputError(
            f"{tables['train'].path}: {target} is the only column; add features"
        )
    splits = {}
    for split, table in tables.items():
        table.check_names(tables["train"])
        splits[split] = (table.numbers(features), table.target(target))
    kinds: set[str] = {values.dtype.kind for _, values in splits.values()}
    if "U" in kinds and len(kinds) > 1:
        raise InputError(
            f"{path}: column {target} holds names in one file and numbers in another; "
            "give the same in all"
        )
    classes = _is_classes(splits["train"][1], kinds, config, tables["train"])
    known: list[str] = []
    if classes:
        known = _classes(splits["train"][1], tables["train"], target)
        splits = {
            split: (numbers, _encode(values, known, tables[split], target))
            for split, (numbers, values) in splits.items()
        }
    return create_dataset(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        name=path.resolve().stem,
        source=str(path.absolute()),
        class_names=known,
        regression=not classes,
        normalize=True,
        feature_names=features,
        target_name=target,
    )


def read_features(path: Path, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Reads columns of a table, for inference; others are ignored.

    Args:
        path: a .csv or .parquet file.
        names: names of the columns: `DatasetSpec.feature_names`.

    Returns:
        float32 [rows, columns].

    Raises:
        InputError: a column is missing, or a cell is not a number.
    """
    table = Table(path)
    missing = [name for name in names if name not in table.names]
    if missing:
        raise InputError(
            f"{path} lacks the column {missing[0]}; its columns are "
            f"{', '.join(table.names)}"
        )
    return table.numbers(list(names))


def _find_files(path: Path) -> dict[str, Path]:
    """Returns the file of each split that there is; the whole one for train."""
    if not path.is_dir():
        return {"train": path}
    found = [entry for entry in folders.entries(path) if entry.suffix in SUFFIXES]
    folders.check_split_names(found)
    files: dict[str, Path] = {}
    for file in found:
        if file.stem in SPLITS:
            if file.stem in files:
                raise InputError(
                    f"{path} holds both {files[file.stem].name} and {file.name}; give "
                    "one file for each split"
                )
            files[file.stem] = file
    others = [file for file in found if file.stem not in SPLITS]
    folders.warn_ignored(others, "a split's table")
    return files


def _is_classes(
    values: NDArray[Any], kinds: set[str], config: Config, table: Table
) -> bool:
    """Returns whether the values of the target are classes; see --task."""
    if config.task != "auto" or "U" in kinds:
        if config.task == "regression" and "U" in kinds:
            raise InputError(
                f"{table.path}: column {config.target} holds names, not numbers; leave "
                "out --task=regression, or give another --target"
            )
        return config.task != "regression"
    if "f" in kinds:
        return False
    distinct = len(np.unique(values))
    classes = distinct <= _MOST_INTEGER_CLASSES
    logging.info(
        "%s: column %s holds %d different integers, taken as %s; --task=%s changes it",
        *(table.path, config.target, distinct),
        *(("classes", "regression") if classes else ("numbers", "classification")),
    )
    return classes


def _classes(values: NDArray[Any], table: Table, target: str) -> list[str]:
    """Returns the names of the classes of the training split, in their order."""
    _check_whole(values, table, target)
    distinct = np.unique(values)
    if len(distinct) < 2:
        raise InputError(
            f"{table.path}: column {target} holds only {_name(distinct[0])!r}; give at "
            "least two classes"
        )
    if len(distinct) > max(_MOST_INTEGER_CLASSES, len(values) // 2):
        raise InputError(
            f"{table.path}: column {target} holds {len(distinct)} different values in "
            f"{len(values)} rows, too many for classes; give another --target"
        )
    return [_name(value) for value in distinct]


def _encode(
    values: NDArray[Any], known: list[str], table: Table, target: str
) -> NDArray[np.int64]:
    """Returns the index of each value among the classes."""
    _check_whole(values, table, target)
    index = {name: label for label, name in enumerate(known)}
    distinct, inverse = np.unique(values, return_inverse=True)
    labels = np.array([index.get(_name(value), -1) for value in distinct], np.int64)
    encoded: NDArray[np.int64] = labels[inverse]
    if encoded.min() < 0:
        row = int(np.argmin(encoded))
        name = _name(values[row])
        raise InputError(
            f"{table.where(row, target)}: class {name!r}, which no row of the training "
            "split has; correct it, or add such rows"
        )
    return encoded


def _check_whole(values: NDArray[Any], table: Table, target: str) -> None:
    """Raises InputError if floats that are to be classes are not whole."""
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(values != np.floor(values))
        if len(wrong):
            raise InputError(
                f"{table.where(wrong[0], target)}: {values[wrong[0]]} is no class; "
                "give whole numbers or names, or --task=regression"
            )


def _name(value: Any) -> str:
    return str(value) if isinstance(value, str) else str(int(value))
