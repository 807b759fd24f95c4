"""Converts an image of a handwritten digit to the form of MNIST's images.

These are white on black, scaled to fit 20x20 pixels, and placed in 28x28 with their
center of mass in the middle (LeCun et al. 1998, "Gradient-based learning applied to
document recognition", section III.A).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distmnist.core.errors import InputError
from distmnist.data import image_files
from distmnist.data.sources.mnist import IMAGE_SIZE

_BOX = 20  # largest height and width of a digit, in pixels
# Fractions of the contrast between paper and ink: values below _GRAIN are the texture
# of the paper, values above _INK are ink.
_GRAIN, _INK = 0.1, 0.25


class Digit(NamedTuple):
    """An image in the form of MNIST's.

    Attributes:
        pixels: uint8 [28, 28], in [0 (background), 255].
        preprocessing: the steps that were applied to the original, in words.
    """

    pixels: NDArray[np.uint8]
    preprocessing: tuple[str, ...]


def read(path: Path) -> Digit:
    """Reads a JPEG or PNG image of one digit.

    It may be grayscale or in color, transparent, dark on light or light on dark, and
    of any size; it must be upright and show one digit on an even background.

    Args:
        path: the image file.

    Raises:
        InputError: it cannot be read, or is blank.
    """
    steps: list[str] = []
    with image_files.opened(path) as upright:
        size = f"{upright.width}x{upright.height}"
        brightness = _brightness(upright, steps)
    ink = _ink(brightness, steps)
    if ink is None:
        raise InputError(
            f"{path} is blank: its {size} pixels are all alike; give an image of a "
            "digit"
        )
    rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = (IMAGE_SIZE - 1) / 2
    if (
        ink.shape == (IMAGE_SIZE, IMAGE_SIZE)
        and max(box.shape) <= _BOX
        and np.abs(_centre_of_mass(ink) - middle).max() <= 1
    ):
        steps.append("28x28 and centered already")
        return Digit(np.rint(255 * ink).astype(np.uint8), tuple(steps))
    height, width = box.shape
    if box.shape != ink.shape:
        steps.append(f"cropped from {size} to {width}x{height}")
    scale = _BOX / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = Image.fromarray(box).resize(shape, Image.Resampling.BICUBIC)
    small = np.clip(np.asarray(scaled), 0, None)
    small = np.minimum(small / small.max(), 1)  # shrinking makes thin strokes pale
    steps.append(f"scaled to {shape[0]}x{shape[1]}")
    top, left = (
        int(np.clip(round(middle - center), 0, IMAGE_SIZE - extent))
        for center, extent in zip(_centre_of_mass(small), small.shape)
    )
    pixels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    pixels[top : top + shape[1], left : left + shape[0]] = np.rint(255 * small)
    steps.append("centered in 28x28")
    return Digit(pixels, tuple(steps))


def _brightness(image: Image.Image, steps: list[str]) -> NDArray[np.float32]:
    """Returns the brightness of an image, [height, width], in any unit."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        *colors, alpha = (np.asarray(band) for band in image.split())
        opaque = alpha > 127
        light = opaque.any() and np.mean([c[opaque].mean() for c in colors]) > 127
        background = "black" if light else "white"
        steps.append(f"transparent, placed on {background}")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    if image.mode.startswith(("I", "F")):  # more than 8 bits per channel
        return np.array(image, np.float32)
    if image.mode not in ("1", "L"):
        steps.append("converted to grayscale")
    return np.array(image.convert("L"), np.float32)


def _ink(
    brightness: NDArray[np.float32], steps: list[str]
) -> NDArray[np.float32] | None:
    """Returns the amount of ink at each pixel, in [0, 1]; None for a blank image.

    It takes the memory of the brightness, which may be that of a large photograph.
    """
    edges = (brightness[0], brightness[-1], brightness[:, 0], brightness[:, -1])
    paper = float(np.median(np.concatenate(edges)))
    darker = paper - float(brightness.min())
    lighter = float(brightness.max()) - paper
    if max(darker, lighter) <= 0:
        return None
    ink = brightness
    ink -= paper
    if darker > lighter:
        steps.append("inverted, being dark on light")
        ink /= -darker
    else:
        ink /= lighter
    ink[ink < _GRAIN] = 0
    return ink


def _centre_of_mass(ink: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the row and the column of the center of mass."""
    indices = np.indices(ink.shape)
    return np.array([(index * ink).sum() / ink.sum() for index in indices])
