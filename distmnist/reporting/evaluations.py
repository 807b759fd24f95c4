"""What the report shows of a checkpoint's evaluation, as elements of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distmnist.data.spec import DatasetSpec
from distmnist.metrics import figures
from distmnist.metrics.console import metric_title
from distmnist.metrics.types import ClassCounts
from distmnist.reporting.reader import CheckpointEvaluation

_MAX_MATRIX = 50  # classes up to which there is a table with the confusion matrix
_PAIRS, _MORE_PAIRS = 10, 20  # confusions beside it, and without it
_MAX_FEATURES = 30  # columns of tabular data
_MAX_NUMBERS = 4  # of a target with several
_THUMBNAIL = 96  # pixels; larger images are reduced
_MAX_LOSSLESS = 64  # pixels


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
    """An example that the network is most wrong about.

    Attributes:
        label: name of its class, or its target.
        prediction: name of the predicted class, or the predicted number.
        probability: predicted probability of its class; None for numbers.
        image: data URL; None if its features are not an image.
        size: width and height of the image.
        features: values of the columns of tabular data; else empty.
    """

    label: str
    prediction: str
    probability: float | None
    image: str | None
    size: tuple[int, int]
    features: Sequence[str]


class EvaluationView(NamedTuple):
    """A checkpoint's evaluation on the test split.

    Attributes:
        headline: its metrics, in words.
        classes: name, precision and recall of each class; empty if they were not
            counted.
        cells: confusion matrix by row; None if there are none, or too many classes.
        pairs: most frequent confusions, most frequent first.
        plots: data URLs of images by title: predicted numbers.
        mistakes: most wrong examples; None if they are not known.
        columns: names of the columns of tabular data; else empty.
    """

    headline: str
    classes: Sequence[tuple[str, float, float]]
    cells: Sequence[Sequence[ConfusionCell]] | None
    pairs: Sequence[Pair]
    plots: Mapping[str, str]
    mistakes: Sequence[Mistake] | None
    columns: Sequence[str]


def view(evaluation: CheckpointEvaluation) -> EvaluationView:
    """Prepares an evaluation for the page.

    Args:
        evaluation: the evaluation.
    """
    spec, names = evaluation.spec, evaluation.spec.class_names
    result = evaluation.results["test"]
    counts = result.counts
    matrix = counts.confusion if counts else None
    small = matrix is not None and len(names) <= _MAX_MATRIX
    plots = {}
    if evaluation.predictions:
        plots = {
            "Predicted against true": figures.predicted_against_true,
            "Residuals": figures.residuals,
        }
    return EvaluationView(
        headline=_headline(result.metrics),
        classes=_classes(counts, names) if counts else [],
        cells=_cells(matrix) if matrix is not None and small else None,
        pairs=_pairs(counts, names, _PAIRS if small else _MORE_PAIRS) if counts else [],
        plots={
            title: _data_url(Image.fromarray(draw(evaluation.predictions, spec)), True)
            for title, draw in plots.items()
            if evaluation.predictions
        },
        mistakes=_mistakes(evaluation),
        columns=spec.feature_names[:_MAX_FEATURES],
    )


def _headline(metrics: Mapping[str, float]) -> str:
    """Returns the accuracy; without classes, all metrics."""
    if "accuracy" in metrics:
        return f"accuracy {metrics['accuracy']:.4f}"
    return ", ".join(
        f"{metric_title(name).lower()} {value:,.5g}" for name, value in metrics.items()
    )


def _classes(
    counts: ClassCounts, names: Sequence[str]
) -> list[tuple[str, float, float]]:
    return list(zip(names, counts.precision.tolist(), counts.recall.tolist()))


def _cells(confusion: NDArray[np.int64]) -> list[list[ConfusionCell]]:
    shades = figures.shades(confusion)
    return [
        [
            ConfusionCell(int(count), round(100 * shade), row == column)
            for column, (count, shade) in enumerate(zip(counts, row_shades))
        ]
        for row, (counts, row_shades) in enumerate(zip(confusion, shades))
    ]


def _pairs(counts: ClassCounts, names: Sequence[str], most: int) -> list[Pair]:
    return [
        Pair(names[label], names[prediction], examples)
        for label, prediction, examples in counts.most_confused(most)
    ]


def _mistakes(evaluation: CheckpointEvaluation) -> list[Mistake] | None:
    """Returns the most wrong examples, of classes or of numbers."""
    spec, mistakes = evaluation.spec, evaluation.most_wrong
    names = spec.class_names
    if mistakes:
        return [
            _mistake(features, names[label], names[prediction], float(share), spec)
            for features, label, prediction, share in zip(*mistakes)
        ]
    if evaluation.predictions and (spec.is_image or spec.feature_names):
        worst = evaluation.predictions.worst
        return [
            _mistake(features, _numbers(target), _numbers(predicted), None, spec)
            for features, predicted, target in zip(*worst)
        ]
    return None


def _mistake(
    features: NDArray[Any],
    label: str,
    prediction: str,
    probability: float | None,
    spec: DatasetSpec,
) -> Mistake:
    url, size, values = None, (0, 0), []
    if spec.is_image:
        image = features.reshape(spec.feature_shape)
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        url, size = _data_url(picture), picture.size
    elif spec.feature_names:
        values = [f"{value:.6g}" for value in features.ravel()[:_MAX_FEATURES].tolist()]
    return Mistake(label, prediction, probability, url, size, values)


def _numbers(values: NDArray[np.float32]) -> str:
    """Returns a number, or the first of several."""
    shown = [f"{value:.6g}" for value in values.ravel()[:_MAX_NUMBERS].tolist()]
    return " ".join(shown) + (" …" if values.size > _MAX_NUMBERS else "")


def _data_url(image: Image.Image, exact: bool = False) -> str:
    """Returns an image as a data URL: exact if it is small, or as requested."""
    exact = exact or max(image.size) <= _MAX_LOSSLESS
    kind = "png" if exact else "jpeg"
    file = io.BytesIO()
    image.save(file, kind, optimize=True)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{content}"
