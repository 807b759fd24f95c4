"""Makes any picture of a digit what MNIST's images are.

Those are white on black, scaled to fit 20x20 pixels, and put into 28x28 so that their
centre of mass is in the middle (LeCun et al. 1998, "Gradient-based learning applied to
document recognition", section III.A).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from distmnist.core.errors import InputError
from distmnist.data.idx import IMAGE_SIZE

_BOX = 20  # pixels, both ways, that a digit fits
# Of the contrast between paper and ink: less is the grain of the paper, more is ink.
_GRAIN, _INK = 0.1, 0.25


class Digit(NamedTuple):
    """An image as MNIST has them.

    Attributes:
        pixels: uint8 [28, 28], 0 (background) to 255.
        done: what was done to the picture, step by step, in words.
    """

    pixels: NDArray[np.uint8]
    done: tuple[str, ...]


def read(path: Path) -> Digit:
    """Reads a picture of one digit: PNG, JPEG or what else Pillow knows.

    It may be in grey or colour, transparent, dark on light or light on dark, and of
    any size; upright, with one digit on an even background.

    Raises:
        InputError: it can't be read, or shows nothing.
    """
    done: list[str] = []
    try:
        with Image.open(path) as opened:
            size = f"{opened.width}x{opened.height}"
            grey = _grey(ImageOps.exif_transpose(opened), done)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or "it is not a picture, or not whole"
        raise InputError(
            f"{path} can't be read ({why}); give a PNG, a JPEG or an IDX file"
        ) from None
    ink = _ink(grey, done)
    if ink is None:
        raise InputError(
            f"{path} shows nothing: its {size} pixels are all alike; give a picture of "
            "a digit"
        )
    rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = (IMAGE_SIZE - 1) / 2
    if (
        ink.shape == (IMAGE_SIZE, IMAGE_SIZE)
        and max(box.shape) <= _BOX
        and np.abs(_centre_of_mass(ink) - middle).max() <= 1
    ):
        done.append("28x28 and centred already")
        return Digit(np.rint(255 * ink).astype(np.uint8), tuple(done))
    height, width = box.shape
    if box.shape != ink.shape:
        done.append(f"cropped from {size} to {width}x{height}")
    scale = _BOX / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = Image.fromarray(box).resize(shape, Image.Resampling.BICUBIC)
    small = np.clip(np.asarray(scaled), 0, None)
    small = np.minimum(small / small.max(), 1)  # thin strokes pale when they shrink
    done.append(f"scaled to {shape[0]}x{shape[1]}")
    top, left = (
        int(np.clip(round(middle - centre), 0, IMAGE_SIZE - extent))
        for centre, extent in zip(_centre_of_mass(small), small.shape)
    )
    pixels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    pixels[top : top + shape[1], left : left + shape[0]] = np.rint(255 * small)
    done.append("centred in 28x28")
    return Digit(pixels, tuple(done))


def _grey(image: Image.Image, done: list[str]) -> NDArray[np.float32]:
    """Returns a picture's brightness, [height, width], in any unit."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        pixels = np.asarray(image, np.float32)
        opaque = pixels[..., 3] > 127
        light = opaque.any() and pixels[opaque][:, :3].mean() > 127
        ground = Image.new("RGBA", image.size, "black" if light else "white")
        done.append(f"put on {'black' if light else 'white'}, being transparent")
        image = Image.alpha_composite(ground, image)
    if image.mode.startswith(("I", "F")):  # more than 8 bits
        return np.asarray(image, np.float32)
    if image.mode not in ("1", "L"):
        done.append("made grey")
    return np.asarray(image.convert("L"), np.float32)


def _ink(grey: NDArray[np.float32], done: list[str]) -> NDArray[np.float32] | None:
    """Returns how much ink is at each pixel, in [0, 1]; None if there is none."""
    edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    paper = float(np.median(np.concatenate(edges)))
    darker, lighter = paper - float(grey.min()), float(grey.max()) - paper
    if max(darker, lighter) <= 0:
        return None
    if darker > lighter:
        done.append("inverted, being dark on light")
    ink = (paper - grey) / darker if darker > lighter else (grey - paper) / lighter
    return np.where(ink < _GRAIN, 0, ink).astype(np.float32)


def _centre_of_mass(ink: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns its row and its column."""
    places = np.indices(ink.shape)
    return np.array([(place * ink).sum() / ink.sum() for place in places])
