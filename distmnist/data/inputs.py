"""Files of examples for inference, prepared exactly as training prepared its own.

Photographs and drawings of digits are brought into the form of MNIST's images; other
images become what the source of image directories makes of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data.dataset import as_sizes
from distmnist.data.sources import claims, idx, tables
from distmnist.data.spec import DatasetSpec

_DIGITS = ("mnist", "mnist-like", "digits", "fake")  # names of data sets


class Example(NamedTuple):
    """An example to predict the target of.

    Attributes:
        name: of the file; followed by the example's index, from 0, if the file is not
            a single image.
        features: in the type and shape of the data set, [*feature_shape].
        preprocessing: steps that were applied to an image, in words.
    """

    name: str
    features: NDArray[Any]
    preprocessing: tuple[str, ...] = ()


def is_digits(dataset: str, spec: DatasetSpec) -> bool:
    """Returns whether images are preprocessed as digits unless it is switched off.

    Args:
        dataset: name of the data set, as in `Dataset.name`.
        spec: its spec.
    """
    return dataset in _DIGITS and can_be_digits(spec)


def can_be_digits(spec: DatasetSpec) -> bool:
    """Returns whether images can be preprocessed as digits at all."""
    from distmnist.data.sources import mnist

    return spec.is_image and spec.feature_shape == mnist.SPEC.feature_shape


def check_readable(path: Path) -> None:
    """Checks that a file can be read, whatever it holds.

    Raises:
        InputError: it cannot, or is no regular file.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(0, "not a regular file")  # a pipe would be waited for
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); name a file of examples"
        ) from None


def read(path: Path, spec: DatasetSpec, digits: bool) -> Iterator[Example]:
    """Reads the examples of a file.

    Args:
        path: a PNG or JPEG image, an IDX file of images, a .npy file, or a table.
        spec: what the examples must match.
        digits: whether images are preprocessed as digits.

    Raises:
        InputError: the file cannot be read, or its examples do not match the spec.
    """
    try:
        if path.suffix in tables.SUFFIXES:
            yield from _rows(path, _read_table(path, spec), spec)
        elif path.suffix == ".npy":
            yield from _rows(path, _read_array(path), spec)
        elif idx.is_images(path):
            yield from _rows(path, idx.read_images(path)[0], spec)
        else:
            yield _read_image(path, spec, digits)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be read ({reason}); give {_forms(spec)}"
        ) from None


def _read_table(path: Path, spec: DatasetSpec) -> NDArray[Any]:
    """Returns the columns of a table that are features, [rows, columns]."""
    if not spec.feature_names:
        raise InputError(
            f"{path}: is a table, and the run was not trained on one; give "
            f"{_forms(spec)}"
        )
    return tables.read_features(path, spec.feature_names)


def _read_array(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            return claims.read_npy(file, os.fstat(file.fileno()).st_size, str(path))
    except (InputError, OSError):
        raise
    except Exception as error:  # damaged files have NumPy raise many kinds
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{path} cannot be read ({reason}); save an array of numbers with NumPy"
        ) from None


def _rows(path: Path, array: NDArray[Any], spec: DatasetSpec) -> Iterator[Example]:
    """Yields the examples of an array, or the only one."""
    shape = spec.feature_shape
    if array.shape == shape or array.shape[1:] in (shape, (spec.num_features,)):
        examples = array.reshape(-1, *shape)
    elif array.ndim and array.shape[1:] == shape[:-1] and shape[-1:] == (1,):
        examples = array[..., None]  # gray images without their channel
    elif array.shape == shape[:-1] and shape[-1:] == (1,):
        examples = array.reshape(1, *shape)
    else:
        raise InputError(
            f"{path}: is of shape {as_sizes(array.shape)}, but the run was trained on "
            f"examples of {as_sizes(shape)}; give one such example, or several in one "
            "array"
        )
    if not len(examples):
        raise InputError(f"{path}: is empty; give at least one example")
    for index, features in enumerate(_converted(path, examples, spec)):
        yield Example(f"{path}[{index}]", features)


def _converted(path: Path, examples: NDArray[Any], spec: DatasetSpec) -> NDArray[Any]:
    """Returns examples in the type of the spec.

    Raises:
        InputError: that would change a value, or one is not a finite number.
    """
    kind = np.dtype(spec.feature_dtype)
    if examples.dtype == kind != np.float32:
        return examples
    if examples.dtype.kind not in ("iufb" if kind == np.float32 else "iub"):
        raise InputError(
            f"{path}: holds values of type {examples.dtype}, but the run was trained "
            f"on {kind}; convert them as its data were"
        )
    with np.errstate(over="ignore"):
        converted: NDArray[Any] = examples.astype(kind)
    wrong = ~np.isfinite(converted)
    if kind != np.float32:
        wrong = converted != examples
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        rule = "a finite number" if kind == np.float32 else f"in the range of {kind}"
        raise InputError(
            f"{path}, example {row} (from 0): the value {examples[wrong][0]} is not "
            f"{rule}; correct it"
        )
    return converted


def _read_image(path: Path, spec: DatasetSpec, digits: bool) -> Example:
    """Reads an image, and brings it into the form of the data set's."""
    # Deferred: Pillow, which tables do not need.
    from distmnist.data import image_files
    from distmnist.data.sources import mnist_images

    if not spec.is_image:
        raise InputError(
            f"{path}: the run was not trained on image files; give {_forms(spec)}"
        )
    if digits:
        digit = mnist_images.read(path)
        pixels = digit.pixels.reshape(spec.feature_shape)
        return Example(str(path), pixels, digit.preprocessing)
    size, channels = spec.feature_shape[:2], spec.feature_shape[2:]
    steps = []
    pixels = image_files.read(path)
    own = pixels.shape
    if own[:2] != size:
        pixels = image_files.read(path, size)
        steps.append(f"resized from {own[1]}x{own[0]} to {size[1]}x{size[0]}")
    if own[2:] != channels:
        pixels = _with_channels(pixels, channels[0])
        steps.append(f"converted to {'grayscale' if channels == (1,) else 'color'}")
    return Example(str(path), pixels, tuple(steps))


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Converts a gray image to color, or the other way."""
    from PIL import Image

    if channels == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.repeat(pixels, channels, axis=2)


def _forms(spec: DatasetSpec) -> str:
    """Returns which files there may be, in words."""
    if spec.is_image:
        return "a PNG, a JPEG, an IDX or a .npy file"
    if spec.feature_names:
        return "a .csv, a .parquet or a .npy file"
    return "a .npy file"
