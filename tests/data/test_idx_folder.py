"""Four IDX files of any size and classes, and those that are refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from distmnist.data.sources import idx
from tests.data.idx_files import (
    NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Files,
    put,
    source,
)
from tests.data.idx_files import idx as encode
from tests.data.own_data import load, refuse

RANDOM = np.random.RandomState(0)
LETTERS: dict[str, Any] = {
    TRAIN_IMAGES: RANDOM.randint(0, 256, (130, 5, 4)),
    TRAIN_LABELS: 1 + np.arange(130) % 26,
    TEST_IMAGES: RANDOM.randint(0, 256, (30, 5, 4)),
    TEST_LABELS: 1 + np.arange(30) % 26,
}


def files(prefix: str = "", suffix: str = "", **changed: Any) -> Files:
    """Returns the content of LETTERS' files, by name."""
    pack = gzip.compress if suffix else bytes
    return {
        f"{prefix}{name}{suffix}": pack(encode(values))
        for name, values in {**LETTERS, **changed}.items()
    }


@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_any_size_and_classes(tmp_path: Path, prefix: str, suffix: str) -> None:
    content = files(prefix, suffix)
    if prefix:  # as EMNIST has it
        content = {name.replace("t10k", "test"): x for name, x in content.items()}
    data = load(put(tmp_path / "letters", content))
    assert data.name == (prefix.rstrip("-") or "letters")
    assert data.spec.feature_shape == (5, 4, 1)
    assert data.spec.is_image
    # Labels from 1 are 26 classes, not 27, under the names that the files give them.
    assert data.spec.class_names == tuple(map(str, range(1, 27)))
    assert data.test.targets.tolist() == [i % 26 for i in range(30)]
    np.testing.assert_array_equal(data.test.features[..., 0], LETTERS[TEST_IMAGES])
    assert [split.size for split in data.splits.values()] == [117, 13, 30]
    assert load(put(tmp_path / "again", files())).fingerprint == data.fingerprint


def test_one_of_several_data_sets_in_a_directory(tmp_path: Path) -> None:
    put(tmp_path, files("emnist-letters-"))
    put(tmp_path, files("emnist-digits-", **{TRAIN_LABELS: np.arange(130) % 10,
                                             TEST_LABELS: np.zeros(30)}))  # fmt: skip
    refuse(
        "holds several data sets: emnist-digits-, emnist-letters-; add one", tmp_path
    )
    assert load(tmp_path / "emnist-letters").spec.num_classes == 26
    assert load(tmp_path / "emnist-digits-").spec.num_classes == 10
    refuse("emnist: there is no such path", tmp_path / "emnist")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "label beyond": (
        {TEST_LABELS: np.where(np.arange(30) == 7, 30, 1)},
        rf"{TEST_LABELS}: label 30 at position 7 \(from 0\) is none of .* 26, 1 to 26",
    ),
    "lengths": (
        {TEST_LABELS: np.ones(29)},
        f"{TEST_IMAGES} holds 30 images, but .* 29",
    ),
    "sizes": (
        {TEST_IMAGES: np.zeros((30, 4, 4))},
        f"{TEST_IMAGES} holds images of 4x4 pixels, but .*{TRAIN_IMAGES} of 5x4",
    ),
    "no images": ({TEST_IMAGES: np.zeros((0, 5, 4))}, f"{TEST_IMAGES} holds no images"),
    "no pixels": ({TEST_IMAGES: np.zeros((30, 0, 4))}, "holds no images"),
    "labels as images": ({TEST_IMAGES: np.zeros(30)}, "not an IDX file of images"),
}


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_named(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    refuse(message, put(tmp_path, files(**changed)))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    put(tmp_path, files())
    (tmp_path / name).unlink()
    split = "train" if "train" in name else "test"
    kind = "images" if "images" in name else "labels"
    refuse(f"lacks the {split} {kind} beside", tmp_path)


def test_mnist_points_to_the_way_for_other_data(tmp_path: Path) -> None:
    """--dataset=mnist takes MNIST's size and classes only."""
    put(tmp_path, files())
    with pytest.raises(
        InputError, match=r"5x4 pixels, not 28x28; .* give --dataset="
    ) as e:
        source("mnist", tmp_path).load()
    assert str(tmp_path) in str(e.value)
    images = {
        name: np.zeros((n, 28, 28))
        for name, n in ((TRAIN_IMAGES, 130), (TEST_IMAGES, 30))
    }
    put(tmp_path, files(**images))
    with pytest.raises(
        InputError, match=f"label 10 at position 9 .*--dataset={tmp_path}"
    ):
        source("mnist", tmp_path).load()
    assert load(tmp_path).spec.num_classes == 26


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    cut=st.integers(0, 60),
    tail=st.binary(max_size=3),
)
def test_a_file_is_read_whole_or_refused(
    tmp_path: Path, shape: tuple[int, int, int], cut: int, tail: bytes
) -> None:
    values = np.random.RandomState(0).randint(0, 256, shape)
    content = encode(values)
    path = tmp_path / "images"
    path.write_bytes(content[: len(content) - cut] + tail)
    if path.read_bytes() == content:
        np.testing.assert_array_equal(idx.read_images(path)[0], values)
    elif path.stat().st_size != len(content):
        with pytest.raises(InputError, match=str(path)):
            idx.read_images(path)
