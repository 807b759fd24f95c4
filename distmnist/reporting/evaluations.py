"""What the report shows of a checkpoint's evaluation, as elements of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distmnist.data.dataset import DatasetSpec
from distmnist.metrics import figures
from distmnist.metrics.types import Mistakes
from distmnist.reporting.reader import CheckpointEvaluation

_MAX_TABLE = 20  # classes up to which the confusion matrix is a table with counts
_MAX_PAIRS = 10
_THUMBNAIL = 96  # pixels; larger images are reduced
_MAX_LOSSLESS = 64  # pixels
_GRAY, _COLOR = 1, 3  # channels of an image


class ConfusionCell(NamedTuple):
    """A cell of the confusion matrix.

    Attributes:
        examples: number of examples.
        percent: shade, in percent.
        correct: whether it is on the diagonal.
    """

    examples: int
    percent: int
    correct: bool


class Pair(NamedTuple):
    """Examples of one class that were taken for another.

    Attributes:
        label: name of their class.
        prediction: name of the other.
        examples: number of examples.
    """

    label: str
    prediction: str
    examples: int


class Mistake(NamedTuple):
    """A misclassified example.

    Attributes:
        label: name of its class.
        prediction: name of the predicted class.
        probability: predicted probability of its class.
        image: data URL; None if its features are not an image.
        size: width and height of the image.
    """

    label: str
    prediction: str
    probability: float
    image: str | None
    size: tuple[int, int]


class EvaluationView(NamedTuple):
    """A checkpoint's evaluation on the test split.

    Attributes:
        classes: name, precision and recall of each class.
        cells: confusion matrix by row; None if there are too many classes.
        image: else the matrix as the data URL of an image, a pixel per cell.
        pairs: most frequent confusions, most frequent first.
        mistakes: most wrong examples.
    """

    classes: Sequence[tuple[str, float, float]]
    cells: Sequence[Sequence[ConfusionCell]] | None
    image: str | None
    pairs: Sequence[Pair]
    mistakes: Sequence[Mistake]


def view(evaluation: CheckpointEvaluation) -> EvaluationView:
    """Prepares an evaluation for the page.

    Args:
        evaluation: the evaluation.
    """
    names = evaluation.spec.class_names
    test = evaluation.results["test"]
    shades = figures.shades(test.confusion)
    small = len(names) <= _MAX_TABLE
    return EvaluationView(
        classes=list(zip(names, test.precision.tolist(), test.recall.tolist())),
        cells=_cells(test.confusion, shades) if small else None,
        image=None if small else _shaded_image(shades),
        pairs=_pairs(test.confusion, names),
        mistakes=_mistakes(evaluation.most_wrong, evaluation.spec),
    )


def _cells(
    confusion: NDArray[np.int64], shades: NDArray[np.float64]
) -> list[list[ConfusionCell]]:
    return [
        [
            ConfusionCell(int(count), round(100 * shade), row == column)
            for column, (count, shade) in enumerate(zip(counts, row_shades))
        ]
        for row, (counts, row_shades) in enumerate(zip(confusion, shades))
    ]


def _shaded_image(shades: NDArray[np.float64]) -> str:
    """Draws a confusion matrix, transparent where the page shows through."""
    pixels = np.zeros((*shades.shape, 4), np.uint8)
    pixels[..., :3] = figures.WRONG
    pixels[np.eye(len(shades), dtype=bool), :3] = figures.CORRECT
    pixels[..., 3] = np.round(255 * shades)
    return _data_url(Image.fromarray(pixels))


def _pairs(confusion: NDArray[np.int64], names: Sequence[str]) -> list[Pair]:
    mistakes = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_MAX_PAIRS]
    return [
        Pair(names[label], names[prediction], int(mistakes[label, prediction]))
        for label, prediction in zip(*np.unravel_index(order, mistakes.shape))
        if mistakes[label, prediction]
    ]


def _mistakes(mistakes: Mistakes, spec: DatasetSpec) -> list[Mistake]:
    tiles = []
    for features, label, prediction, probability in zip(*mistakes):
        image = features.reshape(spec.feature_shape)
        url, size = None, (0, 0)
        if image.ndim == 3 and image.shape[-1] in (_GRAY, _COLOR):
            picture = Image.fromarray(
                image.squeeze(-1) if image.shape[-1] == _GRAY else image
            )
            picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
            url, size = _data_url(picture), picture.size
        tiles.append(
            Mistake(
                spec.class_names[label],
                spec.class_names[prediction],
                float(probability),
                url,
                size,
            )
        )
    return tiles


def _data_url(image: Image.Image) -> str:
    """Returns an image as a data URL: exact if it is small or transparent."""
    exact = max(image.size) <= _MAX_LOSSLESS or image.mode == "RGBA"
    kind = "png" if exact else "jpeg"
    file = io.BytesIO()
    image.save(file, kind, optimize=True)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{content}"
