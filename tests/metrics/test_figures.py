"""Images of evaluations, checked by their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from distmnist.data.spec import DatasetSpec
from distmnist.metrics import figures
from distmnist.metrics.types import ClassCounts, Errors, Mistakes, Predictions

BLUE, ORANGE, WHITE = [31, 92, 158], [214, 106, 0], [255, 255, 255]


def _names(num_classes: int) -> tuple[str, ...]:
    return tuple(f"class {'x' * (i % 15)} ${i}" for i in range(num_classes))


def _matches(image: figures.Image, color: list[int]) -> NDArray[np.bool_]:
    """Returns which pixels have a color."""
    return (image == color).all(axis=-1)


def _edges(used: NDArray[np.bool_]) -> list[int]:
    """Returns the first and the last index that is used."""
    return np.flatnonzero(used)[[0, -1]].tolist()


def _counts(confusion: NDArray[np.int64]) -> ClassCounts:
    return ClassCounts(int(confusion.sum()), int(np.trace(confusion)), confusion)


@pytest.mark.parametrize("num_classes", [2, 10, 26, 50])
def test_the_diagonal_is_blue_and_mistakes_are_orange(num_classes: int) -> None:
    confusion = np.diag([100] * num_classes)
    confusion[0, num_classes - 1] = 50
    confusion[1, 0] = 1
    image = figures.confusion(_counts(confusion), _names(num_classes), "test")
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)

    blue = image[..., 2] > image[..., 0].astype(int) + 60  # pale blue, too
    # The blue diagonal spans the whole matrix.
    (top, bottom), (left, right) = _edges(blue.any(axis=1)), _edges(blue.any(axis=0))
    assert right - left == pytest.approx(bottom - top, abs=2)
    side = (right + 1 - left) / num_classes

    def cell(label: int, prediction: int) -> list[int]:
        """Returns the color near a corner of a cell, where there is no text."""
        y, x = top + (label + 0.2) * side, left + (prediction + 0.2) * side
        return image[round(y), round(x)].tolist()

    assert cell(num_classes - 1, num_classes - 1) == pytest.approx(BLUE, abs=2)
    assert cell(0, num_classes - 1) == ORANGE  # a third, times ten
    # 1 of 101, times ten.
    expected = 255 + 10 / 101 * (np.array(ORANGE) - 255)
    assert cell(1, 0) == pytest.approx(expected, abs=1)
    if num_classes > 2:
        assert cell(2, 1) == WHITE


@pytest.mark.parametrize(("num_classes", "numbered"), [(20, True), (21, False)])
def test_counts_are_written_up_to_20_classes(num_classes: int, numbered: bool) -> None:
    confusion = np.diag([100] * num_classes)
    image = figures.confusion(_counts(confusion), _names(num_classes), "test")
    blue = _matches(image, BLUE)
    (top, bottom), (left, right) = _edges(blue.any(axis=1)), _edges(blue.any(axis=0))
    height, width = (bottom - top) // num_classes, (right - left) // num_classes
    first = image[top + 3 : top + height - 3, left + 3 : left + width - 3]
    assert _matches(first, WHITE).any() == numbered


@pytest.mark.parametrize("name", ["a", "word " * 4, "word " * 400])
def test_names_of_any_length_fit(name: str) -> None:
    image = figures.confusion(_counts(np.eye(10, dtype=int)), [name] * 10, "test")
    for edge in (image[:2], image[-2:], image[:, :2], image[:, -2:]):
        assert (edge == 255).all()  # nothing is cut off


def test_a_class_without_examples_is_white() -> None:
    image = figures.confusion(_counts(np.zeros((3, 3), int)), _names(3), "test")
    assert not _matches(image, BLUE).any()
    assert not _matches(image, ORANGE).any()


def _mistakes(features: NDArray[np.uint8]) -> Mistakes:
    labels = np.arange(len(features)) % 3
    probabilities = np.full(len(features), 3e-4, np.float32)
    return Mistakes(features, labels, (labels + 1) % 3, probabilities)


def test_grey_examples_are_shown_as_they_are() -> None:
    features = np.full((7, 28 * 28), 255, np.uint8)
    features[6] = 200
    spec = DatasetSpec((28, 28, 1), 3, ("0", "1", "2"))
    image = figures.most_wrong(_mistakes(features), spec)
    gray = _matches(image, [200, 200, 200])
    # Only the seventh example has that gray: at the left of the second row.
    rows, columns = gray.sum(axis=1) > 50, gray.sum(axis=0) > 50
    (top, bottom), (left, right) = _edges(rows), _edges(columns)
    assert bottom - top == pytest.approx(right - left, abs=2)
    assert top > image.shape[0] / 2
    assert right < image.shape[1] / 4


def test_color_examples_keep_their_colors_and_proportions() -> None:
    colors = [[200, 30, 40], [30, 200, 40]]
    features = np.array([[color] * (8 * 16) for color in colors], np.uint8)
    spec = DatasetSpec((8, 16, 3), 3, ("a longer name", "another name", "$x^2$"))
    image = figures.most_wrong(_mistakes(features.reshape(2, -1)), spec)
    centers = []
    for color in colors:
        shown = _matches(image, color)
        height, width = shown.any(axis=1).sum(), shown.any(axis=0).sum()
        assert shown.sum() == height * width
        assert width == pytest.approx(2 * height, abs=2)  # edges are blended
        centers.append(np.argwhere(shown).mean(axis=0))
    assert centers[0][0] == centers[1][0]  # in the same row
    assert centers[0][1] < centers[1][1]


@pytest.mark.parametrize("shape", [(28, 28, 1), (4, 4, 2), (13,)])
def test_any_number_of_examples_of_any_shape(shape: tuple[int, ...]) -> None:
    spec = DatasetSpec(shape, 3, ("a", "b", "c"))
    heights = []
    for count in (0, 1, 18):
        features = np.zeros((count, spec.num_features), np.uint8)
        image = figures.most_wrong(_mistakes(features), spec)
        assert image.dtype == np.uint8
        assert image.shape[2:] == (3,)
        assert (image < 100).any()  # there is text
        heights.append(image.shape[0])
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("num_classes", [51, 1000])
def test_of_many_classes_the_most_frequent_confusions_are_drawn(
    num_classes: int,
) -> None:
    heights = []
    for wrong in (0, 1, 5, 40):
        confusion = np.diag([100] * num_classes)
        confusion[range(wrong), range(1, wrong + 1)] = np.arange(wrong) + 1
        image = figures.confusion(_counts(confusion), _names(num_classes), "test")
        orange = _matches(image, ORANGE)
        assert orange.any() == (wrong > 0)
        heights.append(image.shape[0])
        if wrong:  # the first bar is the longest
            lengths = orange.sum(axis=1)
            assert lengths[lengths > 0][0] == lengths.max()
    assert heights == sorted(heights)
    assert heights[-1] < 700  # 20 at most


def test_the_rows_of_a_table_are_written_below_their_labels() -> None:
    names = tuple(f"a long name of column {index}" for index in range(9))
    heights = []
    for feature_names in ((), names):
        spec = DatasetSpec(
            (9,), 3, feature_dtype="float32", feature_names=feature_names
        )
        features = np.linspace(-1e9, 1e9, 7 * 9, dtype=np.float32).reshape(7, 9)
        image = figures.most_wrong(_mistakes(features), spec)
        heights.append(image.shape[0])
    assert heights[0] < heights[1]


def _predictions(predicted: list[float], targets: list[float]) -> Predictions:
    arrays = np.array(predicted, np.float32), np.array(targets, np.float32)
    return Predictions(*arrays, Errors(np.zeros((1, 2)), *(a[:1] for a in arrays)))


def test_exact_predictions_are_on_the_line() -> None:
    spec = DatasetSpec((2,), feature_dtype="float32", target_name="$price$")
    numbers = _predictions([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    image = figures.predicted_against_true(numbers, spec)
    flat = figures.residuals(numbers, spec)
    for drawn, slope in ((image, -1), (flat, 0)):
        rows, columns = np.nonzero(_matches(drawn, ORANGE))
        ends = [(rows[i], columns[i]) for i in (np.argmin(columns), np.argmax(columns))]
        (top, left), (bottom, right) = ends
        rise = (int(bottom) - int(top)) / (int(right) - int(left))
        assert np.sign(round(rise, 1)) == slope
        # The points, blue, are on the line: beside none of it is there a point.
        blue = np.argwhere(drawn[..., 2] > drawn[..., 0].astype(int) + 90)
        assert len(blue)
        expected = top + rise * (blue[:, 1] - left)
        assert np.abs(blue[:, 0] - expected).max() < 6


@pytest.mark.parametrize(
    "predicted", [[], [np.nan], [np.inf, 1.0], [7.0], [2.0] * 3000, [1e30, -1e30]]
)
def test_any_predictions_are_drawn(predicted: list[float]) -> None:
    spec = DatasetSpec((2,), feature_dtype="float32")
    numbers = _predictions(predicted, [1.0] * len(predicted))
    drawn = figures.draw(spec, None, None, numbers)
    assert list(drawn) == ["predictions", "residuals"]
    for image in drawn.values():
        assert image.dtype == np.uint8
