"""Reads image files: JPEG and PNG alone, of a size that fits into memory."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from distmnist.core.errors import InputError

# Of what Pillow reads, these two are decoded by well-kept libraries, and no program is
# started, as for PostScript; whatever a file is called.
FORMATS = ("JPEG", "PNG")

GRAY = ("1", "L", "LA")
"""Pillow's modes of gray images."""

_COLOR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")

Size = tuple[int, ...]
"""Height and width in pixels; (): an image's own."""

MAX_PIXELS = 1 << 26  # of one image: a camera's; decoded, it takes at most 0.5 GB


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
    with opened(path) as upright:
        return _pixels(upright, size, path)


def _pixels(image: Image.Image, size: Size, path: Path) -> NDArray[np.uint8]:
    if image.mode not in (*GRAY, *_COLOR):
        raise InputError(
            f"{path}: has more than 8 bits for each value ({image.mode}); convert it "
            "to 8 bits"
        )
    transparent = image.has_transparency_data
    if transparent and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise InputError(f"{path}: is transparent in places; put it on a background")
    image = image.convert("L" if image.mode in GRAY else "RGB")
    if size and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Yields an image, decoded, and upright as its EXIF data say.

    Args:
        path: the file, whatever its name.

    Raises:
        InputError: it cannot be read, is no JPEG or PNG image, or has too many pixels;
            or what is done inside fails because it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's: of many pixels, odd palettes
            with _open(path) as image:
                yield image
    except Image.DecompressionBombError:  # which Pillow raises when it opens one
        raise _too_large(path) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: is no JPEG or PNG image; replace it, or move it elsewhere"
        ) from None
    except (InputError, MemoryError):
        raise
    except Exception as error:  # damaged files have Pillow raise many kinds
        reason = getattr(error, "strerror", None) or f"truncated or damaged: {error}"
        raise InputError(
            f"{path}: cannot be read ({' '.join(reason.split())[:200]}); replace it, "
            "or move it elsewhere"
        ) from None


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    if not os.path.isfile(path) and os.path.exists(path):
        raise IsADirectoryError(0, "not a regular file")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(path)
        image.load()
        yield ImageOps.exif_transpose(image)


def _too_large(path: Path) -> InputError:
    return InputError(f"{path}: has more than {MAX_PIXELS} pixels; reduce it")
