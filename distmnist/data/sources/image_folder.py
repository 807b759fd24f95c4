"""--dataset=DIRECTORY of images, with a sub-directory for each class."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import image_files, preparation
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import SPLITS, Dataset, Split
from distmnist.data.shards.examples import Unprepared
from distmnist.data.sources import folders
from distmnist.data.spec import DatasetSpec

_SUFFIXES = (".jpg", ".jpeg", ".png")
# Images of other formats, which are refused rather than ignored.
_OTHER = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".tif", ".tiff", ".webp")


class _Found(NamedTuple):
    """The images of a directory, not read yet.

    Attributes:
        classes: names of the classes.
        files: of each split, sorted by class and name.
        labels: of each split, [n].
        shape: of the first image.
    """

    classes: list[str]
    files: dict[str, list[Path]]
    labels: dict[str, NDArray[np.int64]]
    shape: tuple[int, ...]

    @property
    def first(self) -> Path:
        """The image that decides the shape of all."""
        return self.files["train"][0]


class Images(NamedTuple):
    """Images of one shape in files, as examples; see `data.shards.examples`.

    Attributes:
        files: the images.
        labels: of each, int32 [n].
        image_size: to which images are resized; (): none is.
        shape: of all.
        first: the image that decided it.
    """

    files: list[Path]
    labels: NDArray[np.int32]
    image_size: image_files.Size
    shape: tuple[int, ...]
    first: Path

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.files)

    def take(self, indices: NDArray[Any]) -> Split:
        """Reads images.

        Raises:
            InputError: one is invalid.
        """
        files = [self.files[index] for index in indices.tolist()]
        images = _read_all(files, self.image_size, self.shape, self.first)
        return Split(images, self.labels[indices])


def load(path: Path, config: Config) -> Dataset:
    """Reads the images of each split and class.

    Args:
        path: directory of the class directories, or of train/ and, optionally,
            validation/ and test/ above these.
        config: run configuration.

    Raises:
        InputError: a directory or an image is invalid.
    """
    found = _find(path, config.image_size)
    arrays = {
        split: (
            _read_all(files, config.image_size, found.shape, found.first),
            found.labels[split],
        )
        for split, files in found.files.items()
    }
    return create_dataset(
        arrays["train"],
        arrays.get("validation"),
        arrays.get("test"),
        name=path.resolve().name,
        source=f"images in {path.absolute()}",
        class_names=found.classes,
    )


def open_images(path: Path, config: Config) -> Unprepared:
    """Returns what `load` would read, not read yet.

    Args:
        path: as of `load`.
        config: run configuration.

    Raises:
        InputError: a directory, or the first image, is invalid.
    """
    found, source = _find(path, config.image_size), f"images in {path.absolute()}"
    numbers = {
        split: (np.arange(len(labels)), labels)
        for split, labels in found.labels.items()
    }
    # A split that is missing is cut from the training split's files.
    files = {split: found.files.get(split, found.files["train"]) for split in SPLITS}
    preparation.hold_out(numbers, True, source)
    sha256 = hashlib.sha256(str(config.image_size).encode())
    for split, paths in found.files.items():
        for file in paths:
            status = file.stat()
            stamp = f"{split}/{file.parent.name}/{file.name}"
            stamp += f" {status.st_size} {status.st_mtime_ns}\n"
            sha256.update(stamp.encode(errors="surrogateescape"))
    splits = {
        split: Images(
            [files[split][number] for number in indices.tolist()],
            labels.astype(np.int32),
            config.image_size,
            found.shape,
            found.first,
        )
        for split, (indices, labels) in numbers.items()
    }
    return Unprepared(
        path.resolve().name,
        source,
        sha256.hexdigest(),
        DatasetSpec(found.shape, len(found.classes), tuple(found.classes)),
        splits,
        is_slow=True,
    )


def _find(path: Path, image_size: image_files.Size) -> _Found:
    """Finds the images of each split and class; reads the first.

    Raises:
        InputError: a directory, or the image, is invalid.
    """
    splits = {split: _find_images(root) for split, root in _find_splits(path).items()}
    classes = list(splits["train"])
    for split, images in splits.items():
        for one, other in ((images, classes), (splits["train"], list(images))):
            missing = [name for name in other if name not in one]
            if missing:
                lacks = split if one is images else "train"
                raise InputError(
                    f"{path / lacks} lacks the class {missing[0]}, which "
                    f"{path / ('train' if one is images else split)} has; give all "
                    "splits the same classes"
                )
    if len(classes) < 2:
        raise InputError(
            f"{path}: {classes[0]} is the only class; give a directory with a "
            "sub-directory for each of several classes"
        )
    files = {
        split: [file for name in classes for file in images[name]]
        for split, images in splits.items()
    }
    labels = {
        split: np.repeat(
            np.arange(len(classes)), [len(images[name]) for name in classes]
        )
        for split, images in splits.items()
    }
    shape = image_files.read(files["train"][0], image_size).shape
    return _Found(classes, files, labels, shape)


def _read_all(
    paths: list[Path], size: image_files.Size, shape: tuple[int, ...], first: Path
) -> NDArray[np.uint8]:
    """Reads images of the shape of the first one."""
    images = np.empty((len(paths), *shape), np.uint8)
    for index, path in enumerate(paths):
        image = image_files.read(path, size)
        if image.shape[2] != shape[2]:
            raise _mixed(paths, path, first)
        if image.shape != shape:
            height, width, _ = image.shape
            raise InputError(
                f"{path}: {height}x{width} pixels, but {first} has "
                f"{shape[0]}x{shape[1]}; give --image_size=HEIGHT,WIDTH to resize all"
            )
        images[index] = image
    return images


def _mixed(paths: list[Path], path: Path, first: Path) -> InputError:
    """Returns the error that some images are gray and some are not."""
    gray: dict[bool, list[Path]] = {True: [], False: []}
    for each in {first: None, **dict.fromkeys(paths)}:
        # A damaged one is not the matter here.
        with (
            contextlib.suppress(Exception),
            Image.open(each, formats=image_files.FORMATS) as opened,
        ):
            gray[opened.mode in image_files.GRAY].append(each)
    if min(map(len, gray.values())) == 0:  # changed meanwhile
        return InputError(f"{path}: has other channels than {first}; convert it")
    rare = len(gray[True]) <= len(gray[False])
    kinds = ("gray", "in color") if rare else ("in color", "gray")
    return InputError(
        f"{gray[rare][0]}: is {kinds[0]}, but {len(gray[not rare])} of "
        f"{len(gray[rare]) + len(gray[not rare])} images are {kinds[1]}; convert it"
    )


def _find_splits(path: Path) -> dict[str, Path]:
    """Returns the directory of each split that there is; the whole one for train."""
    train = path / "train"
    # A class may be called "train" too: of vehicles.
    if not train.is_dir() or not any(e.is_dir() for e in folders.entries(train)):
        return {"train": path}
    found = folders.entries(path)
    folders.check_split_names(found)
    for entry in found:
        if entry.is_dir() and entry.name not in SPLITS:
            raise InputError(
                f"{entry}: beside {train}, but no split; give only {', '.join(SPLITS)}"
            )
    return {split: path / split for split in SPLITS if (path / split).is_dir()}


def _find_images(root: Path) -> dict[str, list[Path]]:
    """Returns the images of each class, both sorted by name.

    Raises:
        InputError: there is no class, or one has no images.
    """
    found: dict[str, list[Path]] = {}
    ignored = []
    for entry in folders.entries(root):
        if not entry.is_dir():
            ignored.append(entry)
            continue
        found[entry.name] = []
        for file in folders.entries(entry):
            if file.is_dir():
                raise InputError(
                    f"{file}: a directory inside that of class {entry.name}; put all "
                    f"images of the class into {entry}"
                )
            suffix = file.suffix.lower()
            if suffix in _OTHER:
                raise InputError(f"{file}: is no JPEG or PNG image; convert it")
            if suffix in _SUFFIXES:
                found[entry.name].append(file)
            else:
                ignored.append(file)
        if not found[entry.name]:
            raise InputError(
                f"{entry}: holds no JPEG or PNG image; add images of class "
                f"{entry.name}, or move the directory elsewhere"
            )
    if not found:
        raise InputError(f"{root}: is empty; give it a sub-directory for each class")
    folders.warn_ignored(ignored, "an image in the directory of a class")
    return found
