"""Evaluations, as elements of the page."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from distmnist.reporting import evaluations
from tests.reporting.records import evaluation, regression


def _image(url: str | None) -> Image.Image:
    assert url is not None
    head, content = url.split(",")
    assert head.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_few_classes_are_a_table() -> None:
    shown = evaluations.view(evaluation(2, (8, 8, 1)))
    assert shown.headline == "accuracy 0.8186"
    assert shown.cells is not None
    assert [[cell.examples for cell in row] for row in shown.cells] == [
        [97, 40],
        [3, 97],
    ]
    # 40 of 137, and 3 of 100, ten times as dark.
    assert [[cell.percent for cell in row] for row in shown.cells] == [
        [71, 100],
        [30, 97],
    ]
    assert [pair.examples for pair in shown.pairs] == [40, 3]


@pytest.mark.parametrize("num_classes", [50, 51, 60])
def test_of_many_classes_the_most_confused_pairs_are_shown(num_classes: int) -> None:
    shown = evaluations.view(evaluation(num_classes, (8, 8, 1)))
    assert (shown.cells is not None) == (num_classes == 50)
    assert len(shown.classes) == num_classes
    assert shown.pairs[0] == ("class 0", "class 1", 40)
    assert len(shown.pairs) == (10 if num_classes == 50 else 20)


def test_without_a_confusion_matrix_there_are_no_classes() -> None:
    evaluated = evaluation(3, (8, 8, 1))
    result = evaluated.results["test"]
    assert result.counts
    result = result._replace(counts=result.counts._replace(confusion=None))
    shown = evaluations.view(evaluated._replace(results={"test": result}))
    assert (shown.cells, shown.classes, shown.pairs) == (None, [], [])
    assert shown.mistakes
    result = result._replace(metrics={"loss": 0.25}, counts=None)
    own_loss = evaluated._replace(results={"test": result}, most_wrong=None)
    shown = evaluations.view(own_loss)
    assert (shown.headline, shown.mistakes) == ("loss 0.25", None)


def test_numbers_have_plots_and_the_rows_of_the_largest_errors() -> None:
    evaluated = regression()
    shown = evaluations.view(evaluated)
    assert shown.headline == (
        "loss 0.02, mean absolute error 12,346, mean squared error 2e+08"
    )
    assert list(shown.plots) == ["Predicted against true", "Residuals"]
    for url in shown.plots.values():
        assert _image(url).format == "PNG"
    assert shown.columns == ("area", "rooms", "age")
    assert shown.mistakes
    worst = evaluated.predictions
    assert worst
    assert float(shown.mistakes[0].label) == pytest.approx(worst.targets[0], rel=1e-5)
    assert len(shown.mistakes[0].features) == 3
    # Neither images nor columns: nothing says which examples they are.
    assert evaluations.view(regression((4,), ())).mistakes is None
    images = evaluations.view(regression((9, 8, 3), (), "uint8")).mistakes
    assert images
    assert images[0].size == (8, 9)


def test_rows_of_a_table_have_their_columns() -> None:
    evaluated = evaluation(3, (40,))
    spec = dataclasses.replace(
        evaluated.spec, feature_names=tuple(f"column {i}" for i in range(40))
    )
    shown = evaluations.view(evaluated._replace(spec=spec))
    assert len(shown.columns) == 30
    assert shown.mistakes
    assert {len(mistake.features) for mistake in shown.mistakes} == {30}
    first = evaluated.most_wrong
    assert first
    assert shown.mistakes[0].features[0] == str(first.features[0, 0])


@pytest.mark.parametrize(
    ("shape", "size", "kind"),
    [
        ((28, 28, 1), (28, 28), "PNG"),
        ((32, 24, 3), (24, 32), "PNG"),
        ((300, 150, 3), (48, 96), "JPEG"),
    ],
)
def test_mistakes_have_their_image(
    shape: tuple[int, ...], size: tuple[int, int], kind: str
) -> None:
    evaluated = evaluation(3, shape)
    shown = evaluations.view(evaluated).mistakes
    assert shown
    assert evaluated.most_wrong
    assert len(shown) == 12
    assert shown[1][:2] == ("class 1", "class 2")
    image = _image(shown[0].image)
    assert (image.size, image.format) == (size, kind)
    if kind == "PNG":
        features = evaluated.most_wrong.features[0].reshape(shape).squeeze()
        assert (np.asarray(image) == features).all()


@pytest.mark.parametrize("shape", [(7,), (8, 8), (8, 8, 2), (2, 8, 8, 3)])
def test_features_that_are_no_image_have_none(shape: tuple[int, ...]) -> None:
    shown = evaluations.view(evaluation(3, shape)).mistakes
    assert shown
    assert {mistake.image for mistake in shown} == {None}
