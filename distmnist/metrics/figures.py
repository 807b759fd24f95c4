"""Pictures of an evaluation: the confusion matrix, the worst-classified digits.

Blue and orange, which can be told apart without red and green.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distmnist.data.idx import IMAGE_SIZE, NUM_CLASSES
from distmnist.metrics.types import Mistakes

Picture = NDArray[np.uint8]

_INK = "#1b1f24"
_RIGHT = np.array([31, 92, 158])  # blue
_WRONG = np.array([214, 106, 0])  # orange
_CELL, _MARGIN = 48, 72  # pixels


def confusion_matrix(confusion: NDArray[np.int64], split: str) -> Picture:
    """Draws a confusion matrix: labels down, guesses across.

    A cell is the darker, the larger the part of its row; mistakes are shown ten
    times as dark, or nobody would see them.

    Args:
        confusion: int [10, 10], by label and guess.
        split: its name, for the title.

    Returns:
        uint8 [height, width, 3].
    """
    side = _MARGIN + _CELL * NUM_CLASSES
    image, draw = _canvas(side + 16, side + 16)
    middle = _MARGIN + _CELL * NUM_CLASSES / 2
    _text(draw, (middle, 16), f"Confusion matrix, {split} split", 18)
    _text(draw, (middle, 42), "guess", 16)
    _vertical_text(image, (14, middle), "label", 16)
    rows = np.maximum(confusion.sum(axis=1), 1)
    for label in range(NUM_CLASSES):
        center = _MARGIN + _CELL * (label + 0.5)
        _text(draw, (center, _MARGIN - 9), str(label), 14)
        _text(draw, (_MARGIN - 14, center), str(label), 14)
        for guess in range(NUM_CLASSES):
            count = int(confusion[label, guess])
            part = count / rows[label]
            color = _RIGHT if label == guess else _WRONG
            shade = part if label == guess else min(1.0, 10 * part)
            x, y = _MARGIN + _CELL * guess, _MARGIN + _CELL * label
            fill = _blend(color, shade)
            draw.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=fill)
            if count:
                center_of_cell = (x + _CELL / 2 - 1, y + _CELL / 2 - 1)
                ink = "white" if shade > 0.5 else _INK
                _text(draw, center_of_cell, str(count), 13, ink)
    return np.asarray(image)


def mistakes(worst: Mistakes, columns: int = 6) -> Picture:
    """Draws examples, each above its label, the guess and the label's probability.

    Args:
        worst: the examples.
        columns: digits in a row.

    Returns:
        uint8 [height, width, 3].
    """
    width, height, zoom = 112, 124, 3
    rows = max(1, -(-len(worst.labels) // columns))
    image, draw = _canvas(columns * width + 8, rows * height + 40)
    _text(
        draw,
        (image.width / 2, 18),
        "Worst digits: label as guess (probability of the label)",
        16,
    )
    for index, pixels in enumerate(worst.images):
        row, column = divmod(index, columns)
        x, y = 4 + column * width, 36 + row * height
        digit = Image.fromarray(255 - pixels.reshape(IMAGE_SIZE, IMAGE_SIZE))
        digit = digit.resize((IMAGE_SIZE * zoom,) * 2, Image.Resampling.NEAREST)
        image.paste(digit, (x + (width - digit.width) // 2, y))
        caption = (
            f"{worst.labels[index]} as {worst.guesses[index]} "
            f"({worst.probabilities[index]:.0e})"
        )
        _text(draw, (x + width / 2, y + digit.height + 12), caption, 14)
    return np.asarray(image)


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), "white")
    return image, ImageDraw.Draw(image)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    draw: ImageDraw.ImageDraw,
    center: tuple[float, float],
    text: str,
    size: int,
    ink: str = _INK,
) -> None:
    draw.text(center, text, ink, _font(size), anchor="mm")


def _vertical_text(
    image: Image.Image, center: tuple[float, float], text: str, size: int
) -> None:
    """Writes from bottom to top."""
    label, draw = _canvas(100, 2 * size)
    _text(draw, (50, size), text, size)
    label = label.rotate(90, expand=True)
    image.paste(label, (int(center[0]) - size, int(center[1]) - 50))


def _blend(color: NDArray[np.int64], shade: float) -> tuple[int, int, int]:
    """Returns a color between white (0) and `color` (1)."""
    red, green, blue = (255 + (color - 255) * shade).astype(int).tolist()
    return red, green, blue
