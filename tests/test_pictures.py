"""Pictures, by their pixels."""

from __future__ import annotations

import numpy as np

from distmnist.metrics import figures
from distmnist.metrics.types import Mistakes


def test_confusion_matrix_is_blue_where_right_and_orange_where_wrong() -> None:
    confusion = np.diag([100] * 10)
    confusion[2, 7] = 50
    picture = figures.confusion_matrix(confusion, "test").astype(int)

    def cell(label: int, guess: int) -> list[int]:
        """Returns the colour near the corner of a cell, where there is no text."""
        side = (picture.shape[0] - 16 - 72) // 10
        red, green, blue = picture[72 + side * label + 3, 72 + side * guess + 3]
        return [red, green, blue]

    red, _, blue = cell(0, 0)
    assert blue > red + 50
    red, _, blue = cell(2, 7)
    assert red > blue + 50
    assert cell(7, 2) == [255, 255, 255]


def test_mistakes_show_the_digits_dark_on_white() -> None:
    images = np.zeros((7, 784), np.uint8)
    images[6] = 255
    worst = Mistakes(images, np.arange(7), np.arange(7) + 1, np.full(7, 0.5))
    picture = figures.mistakes(worst)
    assert (picture[60, 60] == 255).all()  # the first: all background
    assert (picture[36 + 124 + 20, 60] == 0).all()  # the seventh, in the second row
    nothing = Mistakes(images[:0], np.empty(0), np.empty(0), np.empty(0))
    assert figures.mistakes(nothing).ndim == 3
