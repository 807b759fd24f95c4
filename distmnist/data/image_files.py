"""Opens image files: JPEG and PNG alone, of a size that fits into memory."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from distmnist.core.errors import InputError

# Of what Pillow reads, these two are decoded by well-kept libraries, and no program is
# started, as for PostScript; whatever a file is called.
FORMATS = ("JPEG", "PNG")

MAX_PIXELS = 1 << 26  # of one image: a camera's; decoded, it takes at most 0.5 GB


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
