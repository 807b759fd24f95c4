"""--dataset=DIRECTORY of images, with a sub-directory for each class."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import image_files
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import SPLITS, Dataset
from distmnist.data.sources import folders

_SUFFIXES = (".jpg", ".jpeg", ".png")
# Images of other formats, which are refused rather than ignored.
_OTHER = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".tif", ".tiff", ".webp")
_GRAY = ("1", "L", "LA")
_COLOR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")

Size = tuple[int, ...]
"""Height and width in pixels; (): an image's own."""


def load(path: Path, config: Config) -> Dataset:
    """Reads the images of each split and class.

    Args:
        path: directory of the class directories, or of train/ and, optionally,
            validation/ and test/ above these.
        config: run configuration.

    Raises:
        InputError: a directory or an image is invalid.
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
    first = files["train"][0]
    shape = read(first, config.image_size).shape
    arrays = {}
    for split, paths in files.items():
        labels = np.repeat(
            np.arange(len(classes)), [len(splits[split][name]) for name in classes]
        )
        arrays[split] = (_read_all(paths, config.image_size, shape, first), labels)
    return create_dataset(
        arrays["train"],
        arrays.get("validation"),
        arrays.get("test"),
        name=path.resolve().name,
        source=f"images in {path.absolute()}",
        class_names=classes,
    )


def read(path: Path, size: Size = ()) -> NDArray[np.uint8]:
    """Reads a JPEG or PNG image, upright, as its EXIF data say.

    Args:
        path: the file.
        size: height and width to resize it to, whatever its own; (): its own.

    Returns:
        uint8 [height, width, channels]; 1 channel if the image is gray, 3 if not.

    Raises:
        InputError: it is not such an image, is damaged, transparent, of more than 8
            bits, or has too many pixels.
    """
    with image_files.opened(path) as upright:
        return _pixels(upright, size, path)


def _pixels(image: Image.Image, size: Size, path: Path) -> NDArray[np.uint8]:
    if image.mode not in (*_GRAY, *_COLOR):
        raise InputError(
            f"{path}: has more than 8 bits for each value ({image.mode}); convert it "
            "to 8 bits"
        )
    transparent = image.has_transparency_data
    if transparent and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise InputError(f"{path}: is transparent in places; put it on a background")
    image = image.convert("L" if image.mode in _GRAY else "RGB")
    if size and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _read_all(
    paths: list[Path], size: Size, shape: tuple[int, ...], first: Path
) -> NDArray[np.uint8]:
    """Reads images of the shape of the first one."""
    images = np.empty((len(paths), *shape), np.uint8)
    for index, path in enumerate(paths):
        image = read(path, size)
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
            gray[opened.mode in _GRAY].append(each)
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
