"""--dataset=DIRECTORY of four IDX files, MNIST's format: any size, any classes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import Dataset
from distmnist.data.sources import folders, idx

# MNIST's names, after the name of the data set; EMNIST's test split is not "t10k".
_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<split>train|t10k|test)-(?P<kind>images|labels)"
    r"[.-]idx[13]-ubyte(\.gz)?"
)
_PARTS = [(split, kind) for split in ("train", "test") for kind in ("images", "labels")]


def find_prefixes(directory: Path) -> list[str]:
    """Returns the names of the data sets in a directory, as their files begin.

    Args:
        directory: the directory; need not exist.
    """
    if not directory.is_dir():
        return []
    matches = [_NAME.fullmatch(entry.name) for entry in folders.entries(directory)]
    return sorted({match["prefix"] for match in matches if match})


def is_prefix(path: Path) -> bool:
    """Returns whether a path is none, but that of IDX files without their suffix."""
    return (
        not path.exists()
        and bool(path.name)
        and f"{path.name.rstrip('-')}-" in find_prefixes(path.parent)
    )


def load(path: Path, _: Config) -> Dataset:
    """Reads the four files.

    Args:
        path: their directory; followed by the beginning of their names, such as
            "emnist-letters", if the directory holds several data sets.

    Raises:
        InputError: a file is missing or invalid.
    """
    if path.is_dir():
        directory, prefixes = path, find_prefixes(path)
        if len(prefixes) > 1:
            raise InputError(
                f"{path} holds several data sets: {', '.join(prefixes)}; add one of "
                "these to the path"
            )
        prefix = prefixes[0]
    else:
        directory, prefix = path.parent, f"{path.name.rstrip('-')}-"
    files = _find_files(directory, prefix)
    splits = {}
    for split in ("train", "test"):
        paths = files[split, "images"], files[split, "labels"]
        images, labels = idx.read_images(paths[0])[0], idx.read_labels(paths[1])[0]
        idx.check_lengths(images, labels, paths)
        splits[split] = (images[..., None], labels)
    train, test = files["train", "images"], files["test", "images"]
    sizes = ["x".join(map(str, splits[k][0].shape[1:3])) for k in ("train", "test")]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{test} holds images of {sizes[1]} pixels, but {train} of {sizes[0]}; "
            "give the files of one data set"
        )
    values = np.unique(splits["train"][1])
    if not np.array_equal(values, np.arange(len(values))):
        logging.info(
            "%s: its %d labels are %s to %s, which name the classes",
            *(files["train", "labels"], len(values), values[0], values[-1]),
        )
    encoded = {
        split: (images, _encode(labels, values, files[split, "labels"]))
        for split, (images, labels) in splits.items()
    }
    return create_dataset(
        encoded["train"],
        test=encoded["test"],
        name=prefix.rstrip("-") or directory.resolve().name,
        source=f"IDX files in {directory.absolute()}",
        class_names=[str(value) for value in values],
    )


def _encode(
    labels: NDArray[np.uint8], values: NDArray[np.uint8], path: Path
) -> NDArray[np.int64]:
    """Returns the index of each label among those of the training split.

    EMNIST's letters are labeled from 1: their classes are 26, not 27.
    """
    wrong = np.flatnonzero(~np.isin(labels, values))
    if len(wrong):
        raise InputError(
            f"{path}: label {labels[wrong[0]]} at position {wrong[0]} (from 0) is none "
            f"of the training split's {len(values)}, {values[0]} to {values[-1]}; "
            "correct it, or give the files of one data set"
        )
    return np.searchsorted(values, labels).astype(np.int64)


def _find_files(directory: Path, prefix: str) -> dict[tuple[str, str], Path]:
    """Returns the four files by split and kind; a plain one precedes a gzipped one.

    Raises:
        InputError: one is missing.
    """
    files: dict[tuple[str, str], Path] = {}
    for path in folders.entries(directory):
        match = _NAME.fullmatch(path.name)
        if match and match["prefix"] == prefix:
            split = "train" if match["split"] == "train" else "test"
            files.setdefault((split, match["kind"]), path)
    missing = [
        f"{split} {kind}" for split, kind in _PARTS if (split, kind) not in files
    ]
    if missing:
        raise InputError(
            f"{directory} lacks the {', '.join(missing)} beside "
            f"{next(iter(files.values())).name}; put the four IDX files there"
        )
    return files
