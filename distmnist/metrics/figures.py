"""Figures of an evaluation: confusions, predicted numbers, the most wrong examples.

Drawn with Matplotlib, without pyplot and its global state. Its import takes a while:
import this module only where something is drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from distmnist.data.spec import DatasetSpec
from distmnist.metrics.types import ClassCounts, Mistakes, Predictions

Image = NDArray[np.uint8]
"""RGB image, uint8 [height, width, 3]."""

# Distinguishable without red and green.
CORRECT = np.array([31, 92, 158])  # blue
WRONG = np.array([214, 106, 0])  # orange
_WRONG_GAIN = 10  # otherwise the few mistakes would be invisible

_DPI = 100
_MAX_NUMBERED = 20  # classes up to which cells have room for counts
_MAX_MATRIX = 50  # classes up to which rows and columns have room for names
_MAX_PAIRS = 20  # confusions that are shown of more classes
_MAX_NAME = 24  # characters of a class name
_MAX_FEATURES = 6  # columns of a table that are written below an example
_LINE_HEIGHT = 0.14  # of a caption, in inches
# Inches; captions have up to four lines.
_TILE_WIDTH, _TILE_HEIGHT, _IMAGE_SIZE, _TITLE_HEIGHT = 1.4, 1.8, 1.15, 0.5


def draw(
    spec: DatasetSpec,
    counts: ClassCounts | None,
    mistakes: Mistakes | None,
    predictions: Predictions | None,
) -> dict[str, Image]:
    """Draws what there is of the test split.

    Args:
        spec: shapes and classes of the data set.
        counts: its counts.
        mistakes: its examples that are most wrong.
        predictions: its predicted numbers.

    Returns:
        The images by name.
    """
    images = {}
    if counts and counts.confusion is not None:
        images["confusion_matrix"] = confusion(counts, spec.class_names, "test")
    if mistakes:
        images["most_wrong"] = most_wrong(mistakes, spec)
    if predictions:
        images["predictions"] = predicted_against_true(predictions, spec)
        images["residuals"] = residuals(predictions, spec)
    return images


def confusion(counts: ClassCounts, class_names: Sequence[str], split: str) -> Image:
    """Draws the confusion matrix; of many classes, the most frequent confusions.

    Args:
        counts: of the split, with a confusion matrix.
        class_names: name of each class.
        split: name of the split, for the title.

    Returns:
        uint8 [height, width, 3].
    """
    if len(class_names) > _MAX_MATRIX or counts.confusion is None:
        return _confusions(counts, class_names, split)
    return _matrix(counts.confusion, class_names, split)


def _confusions(counts: ClassCounts, class_names: Sequence[str], split: str) -> Image:
    """Draws a bar for each of the most frequent confusions."""
    pairs = counts.most_confused(_MAX_PAIRS)
    names = [
        f"{_shorten(class_names[label])} as {_shorten(class_names[prediction])}"
        for label, prediction, _ in pairs
    ]
    figure = Figure((8, 1.5 + 0.25 * len(pairs)), _DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="examples")
    title = "Most frequent confusions" if pairs else "No example is misclassified"
    figure.suptitle(f"{title}, {split} split", fontsize=16)
    axes.barh(range(len(pairs)), [count for *_, count in pairs], color=WRONG / 255)
    axes.set_yticks(range(len(pairs)), names, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    return _render(figure)


def _matrix(
    confusion: NDArray[np.int64], class_names: Sequence[str], split: str
) -> Image:
    """Draws a confusion matrix: labels down, predictions across.

    The shade of a cell is its fraction of the row; that of mistakes is multiplied by
    ten.
    """
    num_classes = len(class_names)
    names = [_shorten(name) for name in class_names]
    numbered = num_classes <= _MAX_NUMBERED
    cell = 0.5 if numbered else 0.2  # inches
    side = 2 + max(4.0, num_classes * cell)
    figure = Figure((side, side), _DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="prediction", ylabel="label")
    figure.suptitle(f"Confusion matrix, {split} split", fontsize=16)
    shaded = shades(confusion)
    axes.imshow(_colors(shaded))
    rotation = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(range(num_classes), names, rotation=rotation, parse_math=False)
    axes.set_yticks(range(num_classes), names, parse_math=False)
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
    The columns of a table are written below these; other features that are no images
    are left out.

    Args:
        mistakes: misclassified examples.
        spec: their shape, and the class names.
        columns: examples in a row.

    Returns:
        uint8 [height, width, 3].
    """
    rows = math.ceil(len(mistakes.labels) / columns)
    image_shape = spec.feature_shape if spec.is_image else None
    tile = _TILE_HEIGHT
    if not image_shape:
        tile = _LINE_HEIGHT * (5 + len(spec.feature_names[:_MAX_FEATURES]))
    width, height = columns * _TILE_WIDTH, max(rows * tile, 0.1)
    figure = Figure((width, height + _TITLE_HEIGHT), _DPI)
    title = "Most wrong: label as prediction (probability of the label)"
    figure.suptitle(title if rows else "No example is misclassified")
    # One set of axes, in inches: one for each example takes twice as long.
    axes = figure.add_axes((0, 0, 1, height / (height + _TITLE_HEIGHT)))
    for index, features in enumerate(mistakes.features):
        row, column = divmod(index, columns)
        top, center = row * tile, (column + 0.5) * _TILE_WIDTH
        bottom = top
        if image_shape:
            pixel = _IMAGE_SIZE / max(image_shape[:2])
            bottom, half = top + pixel * image_shape[0], pixel * image_shape[1] / 2
            extent = (center - half, center + half, bottom, top)
            image = features.reshape(image_shape)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
        label, prediction = (
            _shorten(spec.class_names[classes[index]])
            for classes in (mistakes.labels, mistakes.predictions)
        )
        caption = f"{label} as {prediction} ({mistakes.probabilities[index]:.0e})"
        axes.text(
            center,
            bottom + 0.05,
            "\n".join([*textwrap.wrap(caption, 18)[:4], *_values(features, spec)]),
            fontsize=8,
            ha="center",
            va="top",
            parse_math=False,
        )
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    axes.set_axis_off()
    return _render(figure)


def predicted_against_true(predictions: Predictions, spec: DatasetSpec) -> Image:
    """Draws predicted numbers over the targets, and the line where both are equal.

    Args:
        predictions: the numbers; those of one example are drawn as several points.
        spec: name of the targets.

    Returns:
        uint8 [height, width, 3].
    """
    targets, predicted = _finite(predictions)
    labels = {"xlabel": "true", "ylabel": "predicted"}
    title = "Predicted against true"
    figure, axes = _scatter(predictions, title, spec, targets, predicted, labels)
    if len(targets):
        low = min(targets.min(), predicted.min())
        axes.axline((low, low), slope=1, color=WRONG / 255, linewidth=1)
    return _render(figure)


def residuals(predictions: Predictions, spec: DatasetSpec) -> Image:
    """Draws the errors of predicted numbers over the predicted numbers.

    Args:
        predictions: the numbers.
        spec: name of the targets.

    Returns:
        uint8 [height, width, 3].
    """
    targets, predicted = _finite(predictions)
    errors = predicted - targets
    labels = {"xlabel": "predicted", "ylabel": "predicted - true"}
    figure, axes = _scatter(predictions, "Residuals", spec, predicted, errors, labels)
    axes.axhline(0, color=WRONG / 255, linewidth=1)
    return _render(figure)


def _finite(predictions: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the targets and the predictions, without those that are not finite."""
    targets, predicted = (
        values.ravel().astype(np.float64)
        for values in (predictions.targets, predictions.predicted)
    )
    finite = np.isfinite(predicted)
    return targets[finite], predicted[finite]


def _scatter(
    predictions: Predictions,
    title: str,
    spec: DatasetSpec,
    x: NDArray[Any],
    y: NDArray[Any],
    labels: Mapping[str, str],
) -> tuple[Figure, Any]:
    """Returns a figure with a point for each number, and its axes."""
    figure = Figure((4.8, 4.4), _DPI, layout="constrained")
    axes = figure.add_subplot(**labels)
    name = f": {_shorten(spec.target_name)}" if spec.target_name else ""
    hidden = predictions.predicted.size - len(x)
    note = f"\n{hidden} predictions are not finite" if hidden else ""
    axes.set_title(f"{title}{name}{note}", parse_math=False)
    axes.grid(color="#dddddd")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    faint = min(1.0, 20 / math.sqrt(1 + len(x)))
    style: dict[str, Any] = {
        "color": CORRECT / 255,
        "alpha": faint,
        "markeredgewidth": 0,
    }
    axes.plot(x, y, ".", markersize=6, zorder=3, **style)  # above the line
    return figure, axes


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


def _values(features: NDArray[Any], spec: DatasetSpec) -> list[str]:
    """Returns the columns of a row of a table, a line each."""
    names = spec.feature_names[:_MAX_FEATURES]
    return [
        f"{name if len(name) <= 12 else name[:11] + '…'}: {value:.4g}"
        for name, value in zip(names, features.ravel().tolist())
    ]


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _render(figure: Figure) -> Image:
    """Returns the pixels of a figure."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods are untyped
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
