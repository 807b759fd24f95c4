"""--dataset=FILE.npz, or a directory of .npy files, with the names that Keras gives."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import SPLITS, Dataset
from distmnist.data.sources import claims, folders

_NAMES = [f"{kind}_{split}" for split in SPLITS for kind in "xy"]


def is_name(name: str) -> bool:
    """Returns whether a file name is that of an array of a data set."""
    return name in ("x_train.npy", "y_train.npy")


def load(path: Path, config: Config) -> Dataset:
    """Reads the arrays x_train and y_train, and those of the other splits, if any.

    Args:
        path: the .npz file, or the directory of .npy files.
        config: run configuration.

    Raises:
        InputError: an array is missing or invalid.
    """
    arrays = _read_directory(path) if path.is_dir() else _read_npz(path)
    for name, other in zip(_NAMES, [f"{'yx'[n[0] == 'y']}{n[1:]}" for n in _NAMES]):
        if name not in arrays and (other in arrays or name.endswith("train")):
            found = (
                ", ".join(n for n in _NAMES if n in arrays) or "no array of such a name"
            )
            raise InputError(
                f"{path} lacks {name}, and holds {found}; add it (names: "
                f"{', '.join(_NAMES)})"
            )
    splits = {}
    for split in SPLITS:
        if f"x_{split}" in arrays:
            features, targets = arrays[f"x_{split}"], arrays[f"y_{split}"]
            if features.shape[:1] != targets.shape[:1]:
                sizes = [a.shape[0] if a.ndim else "no" for a in (features, targets)]
                raise InputError(
                    f"{path}: x_{split} has {sizes[0]} examples, but y_{split} "
                    f"{sizes[1]}; give one target for each example"
                )
            splits[split] = (features, _targets(targets, config, f"{path}: y_{split}"))
    return create_dataset(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        name=path.resolve().stem,
        source=str(path.absolute()),
        regression=config.task == "regression",
    )


def _targets(targets: NDArray[Any], config: Config, where: str) -> NDArray[Any]:
    """Returns targets as --task has them."""
    if config.task == "classification" and targets.dtype.kind == "f":
        wrong = targets != np.floor(targets)
        if wrong.any():
            raise InputError(
                f"{where}, example {np.argwhere(wrong)[0][0]}: {targets[wrong][0]} is "
                "no class; give whole numbers, or --task=regression"
            )
        return targets.astype(np.int64)
    return targets


def _read_directory(directory: Path) -> dict[str, NDArray[Any]]:
    paths = [path for path in folders.entries(directory) if path.suffix == ".npy"]
    known = [path for path in paths if path.stem in _NAMES]
    _check_names([path for path in paths if path not in known])
    arrays = {}
    for path in known:
        with _reported(str(path)), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            arrays[path.stem] = claims.read_npy(file, size, str(path))
    return arrays


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    arrays = {}
    with _reported(str(path)):
        archive = zipfile.ZipFile(path)
    with archive:
        parts = {
            part.filename.removesuffix(".npy"): part for part in archive.infolist()
        }
        _check_names([path / name for name in parts if name not in _NAMES])
        for name, part in parts.items():
            if name in _NAMES:
                where = f"{path}: {name}"
                with _reported(where):
                    if part.file_size > claims.DEFLATED * part.compress_size:
                        raise ValueError(f"cannot hold {part.file_size} bytes")
                    with archive.open(part) as file:
                        size = part.file_size
                        stream = cast(BinaryIO, file)
                        arrays[name] = claims.read_npy(stream, size, where)
    return arrays


def _check_names(paths: list[Path]) -> None:
    """Warns of arrays that are not part of the data; refuses misspelled splits."""
    for kind in "xy":
        folders.check_split_names(paths, f"{kind}_")
    folders.warn_ignored(paths, "an array of the data set")


@contextlib.contextmanager
def _reported(where: str) -> Iterator[None]:
    """Raises errors of reading as InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files have NumPy raise many kinds
        if isinstance(error, OSError) and error.filename:
            raise
        reason = " ".join(str(error).split())[:100]
        if isinstance(error, claims.ObjectsError):
            raise InputError(f"{where}: {reason}; save an array of numbers") from None
        raise InputError(
            f"{where}: cannot be read ({reason}); save it again with NumPy"
        ) from None
