"""Figures of an evaluation: the confusion matrix and the most wrong examples.

Drawn with Matplotlib, without pyplot and its global state. Its import takes a while:
import this module only where something is drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distmnist.data.dataset import DatasetSpec
from distmnist.metrics.types import Mistakes

Image = NDArray[np.uint8]
"""RGB image, uint8 [height, width, 3]."""

# Distinguishable without red and green.
CORRECT = np.array([31, 92, 158])  # blue
WRONG = np.array([214, 106, 0])  # orange
_WRONG_GAIN = 10  # otherwise the few mistakes would be invisible

_DPI = 100
_MAX_NUMBERED = 20  # classes up to which cells have room for counts
_MAX_NAMED = 50  # classes up to which rows and columns have room for names
_MAX_NAME = 24  # characters of a class name
_GRAY, _COLOR = 1, 3  # channels of an image
# Inches; captions have up to four lines.
_TILE_WIDTH, _TILE_HEIGHT, _IMAGE_SIZE, _TITLE_HEIGHT = 1.4, 1.8, 1.15, 0.5


def confusion_matrix(
    confusion: NDArray[np.int64], class_names: Sequence[str], split: str
) -> Image:
    """Draws a confusion matrix: labels down, predictions across.

    The shade of a cell is its fraction of the row; that of mistakes is multiplied by
    ten.

    Args:
        confusion: int [n, n], number of examples by label and prediction.
        class_names: n names.
        split: name of the split, for the title.

    Returns:
        uint8 [height, width, 3].
    """
    num_classes = len(class_names)
    names = [_shorten(name) for name in class_names]
    numbered = num_classes <= _MAX_NUMBERED
    cell = 0.5 if numbered else 0.2  # inches
    side = 2 + max(4.0, min(num_classes, _MAX_NAMED) * cell)
    figure = Figure((side, side), _DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="prediction", ylabel="label")
    figure.suptitle(f"Confusion matrix, {split} split", fontsize=16)
    shaded = shades(confusion)
    axes.imshow(_colors(shaded))
    rotation = 90 if max(map(len, names)) > 3 else 0
    ticks = range(num_classes if num_classes <= _MAX_NAMED else 0)
    axes.set_xticks(ticks, names[: len(ticks)], rotation=rotation, parse_math=False)
    axes.set_yticks(ticks, names[: len(ticks)], parse_math=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    if numbered:
        for label, prediction in np.argwhere(confusion):
            axes.text(
                prediction,
                label,
                str(confusion[label, prediction]),
                color="white" if shaded[label, prediction] > 0.5 else "black",
                ha="center",
                va="center",
            )
    return _render(figure)


def most_wrong(mistakes: Mistakes, spec: DatasetSpec, columns: int = 6) -> Image:
    """Draws misclassified examples.

    Each is above its label, the prediction and the predicted probability of the label.
    Features that are not images are left out.

    Args:
        mistakes: misclassified examples.
        spec: their shape, and the class names.
        columns: examples in a row.

    Returns:
        uint8 [height, width, 3].
    """
    rows = math.ceil(len(mistakes.labels) / columns)
    width, height = columns * _TILE_WIDTH, max(rows * _TILE_HEIGHT, 0.1)
    figure = Figure((width, height + _TITLE_HEIGHT), _DPI)
    title = "Most wrong: label as prediction (probability of the label)"
    figure.suptitle(title if rows else "No example is misclassified")
    # One set of axes, in inches: one for each example takes twice as long.
    axes = figure.add_axes((0, 0, 1, height / (height + _TITLE_HEIGHT)))
    images = mistakes.features.reshape(-1, *spec.feature_shape)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, center = row * _TILE_HEIGHT, (column + 0.5) * _TILE_WIDTH
        bottom = top
        if image.ndim == 3 and image.shape[-1] in (_GRAY, _COLOR):
            pixel = _IMAGE_SIZE / max(image.shape)
            bottom, half = top + pixel * image.shape[0], pixel * image.shape[1] / 2
            extent = (center - half, center + half, bottom, top)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
        label, prediction = (
            _shorten(spec.class_names[classes[index]])
            for classes in (mistakes.labels, mistakes.predictions)
        )
        caption = f"{label} as {prediction} ({mistakes.probabilities[index]:.0e})"
        axes.text(
            center,
            bottom + 0.05,
            "\n".join(textwrap.wrap(caption, 18)),
            fontsize=8,
            ha="center",
            va="top",
            parse_math=False,
        )
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    axes.set_axis_off()
    return _render(figure)


def shades(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the shade of each cell of a confusion matrix, in [0, 1]."""
    rows = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    fractions: NDArray[np.float64] = confusion / rows
    wrong = ~np.eye(len(confusion), dtype=bool)
    fractions[wrong] = np.minimum(_WRONG_GAIN * fractions[wrong], 1.0)
    return fractions


def _colors(shaded: NDArray[np.float64]) -> Image:
    """Returns the color of each cell, between white and the color of its category."""
    full = np.where(np.eye(len(shaded), dtype=bool)[..., None], CORRECT, WRONG)
    colors: Image = np.round(255 + shaded[..., None] * (full - 255)).astype(np.uint8)
    return colors


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _render(figure: Figure) -> Image:
    """Returns the pixels of a figure."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods are untyped
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
