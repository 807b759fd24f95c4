"""Evaluations, as elements of the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from distmnist.reporting import evaluations
from tests.reporting.records import evaluation


def _image(url: str | None) -> Image.Image:
    assert url is not None
    head, content = url.split(",")
    assert head.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_few_classes_are_a_table() -> None:
    shown = evaluations.view(evaluation(2, (8, 8, 1)))
    assert shown.image is None
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


def test_many_classes_are_an_image() -> None:
    shown = evaluations.view(evaluation(200, (8, 8, 1)))
    assert shown.cells is None
    pixels = np.asarray(_image(shown.image))
    assert pixels.shape == (200, 200, 4)
    assert pixels[5, 5].tolist() == [31, 92, 158, round(255 * 0.97)]
    assert pixels[5, 6].tolist() == [214, 106, 0, round(255 * 0.3)]
    assert pixels[5, 7, 3] == 0
    assert len(shown.classes) == 200
    assert shown.pairs[0] == ("class 0", "class 1", 40)
    assert len(shown.pairs) == 10


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
    assert {mistake.image for mistake in shown} == {None}
