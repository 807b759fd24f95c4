"""Data sets of arrays and of other sources of examples; which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from distmnist.data.arrays import Columns, Items, create_dataset
from distmnist.data.dataset import Dataset, create_split, fingerprint
from distmnist.data.spec import DatasetSpec

X = np.arange(60, dtype=np.uint8).reshape(30, 2)
Y = np.arange(30) % 3


class Source:
    """A source with random access that counts how many examples it is asked for."""

    def __init__(self, size: int):
        self.size = size
        self.most = 0

    def __len__(self) -> int:  # noqa: D105
        return self.size

    def __getitem__(self, indices: np.ndarray) -> Any:  # noqa: D105
        self.most = max(self.most, len(indices))
        return indices[:, None] / 2, indices % 2


def contents(dataset: Dataset) -> list[tuple[bytes, bytes]]:
    return [(x.tobytes(), y.tobytes()) for x, y in dataset.splits.values()]


def test_every_way_in_gives_the_same_data_set() -> None:
    pairs = list(zip(X, Y))
    table = {"x": list(X), "y": Y.tolist()}
    datasets = [
        create_dataset((X, Y), test=(X[:4], Y[:4])),
        create_dataset((X, Y[:, None]), test=(X[:4], Y[:4])),
        create_dataset(Items(pairs), test=Items(pairs[:4])),
        create_dataset(Columns(table, "x", "y"), test=(X[:4], Y[:4])),
    ]
    assert len({d.fingerprint for d in datasets}) == 1
    assert datasets[0].spec == DatasetSpec((2,), 3)
    assert contents(datasets[0]) == contents(datasets[2])


def test_a_source_is_read_in_batches() -> None:
    source = Source(5000)
    dataset = create_dataset(source)
    assert source.most == 1024
    assert sum(split.size for split in dataset.splits.values()) == 5000
    assert dataset.spec == DatasetSpec((1,), 2, feature_dtype="float32")


@given(st.lists(st.integers(0, 4), min_size=12, max_size=300), st.booleans())
def test_what_is_held_out_is_a_partition_stratified_by_class(
    labels: list[int], has_test: bool
) -> None:
    targets = np.array(labels)
    index = np.arange(len(labels), dtype=np.int32)[:, None]
    test = (index[:3], targets[:3]) if has_test else None
    dataset = create_dataset((index, targets), test=test, num_classes=5)
    splits = dict(dataset.splits)
    if has_test:
        assert splits.pop("test").features.ravel().tolist() == [0, 1, 2]
    seen = np.concatenate([split.features.ravel() for split in splits.values()])
    assert sorted(seen) == index.ravel().tolist()
    for split in splits.values():
        assert (split.targets == targets[split.features.ravel()]).all()
        assert (np.diff(split.features.ravel()) > 0).all()  # in the user's order
    # A tenth of each class, as exactly as whole examples allow.
    of_all, held_out = (
        np.bincount(y, minlength=5) for y in (targets, splits["validation"].targets)
    )
    share = 0.1 if has_test else 0.09  # of the nine tenths left by the test split
    assert (abs(held_out - of_all * share) < 1.2).all()
    assert set(targets) == set(splits["train"].targets)


def test_the_choice_does_not_change_between_versions() -> None:
    """A run that an older version began can be resumed."""
    index = np.arange(40, dtype=np.int32)[:, None]
    dataset = create_dataset((index, np.arange(40) % 2))
    held_out = [
        dataset.splits[k].features.ravel().tolist() for k in ("validation", "test")
    ]
    assert held_out == HELD_OUT


HELD_OUT = [[13, 18, 27, 38], [21, 30, 36, 37]]


def test_names_become_classes_in_sorted_order() -> None:
    names = np.array(["pear", "apple", "fig"])[Y]
    dataset = create_dataset((X, names), test=(X[:2], np.array([b"fig", b"apple"])))
    assert dataset.spec.class_names == ("apple", "fig", "pear")
    assert dataset.test.targets.tolist() == [1, 0]
    given = create_dataset((X, names), class_names=["pear", "fig", "apple", "kiwi"])
    assert given.spec.num_classes == 4
    index = given.train.features[:, 0] // 2
    assert (given.train.targets == np.array([0, 2, 1])[Y[index]]).all()


def test_numbers_are_normalized_by_the_training_split() -> None:
    random = np.random.RandomState(0)
    x = random.normal([5, 5, 0.1], [1, 9, 0], (100, 3))
    y = random.normal(7, 2, 100)
    dataset = create_dataset((x, y), normalize=True)
    spec, train = dataset.spec, dataset.train
    assert spec.num_classes is None
    np.testing.assert_allclose(spec.feature_mean, train.features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        spec.feature_std[:2], train.features.std(0)[:2], rtol=1e-4
    )
    # A constant is 0 then, not rounding errors divided by themselves.
    assert spec.feature_mean[2] == train.features[0, 2]
    assert spec.feature_std[2] == 1
    assert spec.target_std == pytest.approx(train.targets.std(), rel=1e-5)
    assert create_dataset((x, y)).spec.feature_std == 1


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_have_one_mean(kind: type) -> None:
    images = np.random.RandomState(0).randint(0, 256, (3000, 9, 8, 1)).astype(kind)
    dataset = create_dataset((images, np.arange(3000) % 2), normalize=True)
    seen = dataset.train.features.astype(float)
    assert dataset.spec.feature_mean == pytest.approx(seen.mean(), rel=1e-6)
    assert dataset.spec.feature_std == pytest.approx(seen.std(), rel=1e-6)


def test_integers_are_identifiers_unless_they_are_normalized() -> None:
    tokens = np.arange(60).reshape(30, 2)
    assert create_dataset((tokens, Y)).spec.feature_dtype == "int32"
    assert create_dataset((tokens, Y), normalize=True).spec.feature_dtype == "float32"
    numbers = create_dataset((X, Y), regression=True)
    assert numbers.train.targets.dtype == np.float32
    assert numbers.spec.num_classes is None


def test_the_users_arrays_stay_as_they_were() -> None:
    x, y = X.copy(), Y.copy()
    dataset = create_dataset((x, y), (x, y), (x, y))
    assert x.flags.writeable
    assert y.flags.writeable
    assert not any(
        a.flags.writeable for split in dataset.splits.values() for a in split
    )


def test_the_fingerprint_is_that_of_content_and_spec() -> None:
    base = create_dataset((X, Y))
    assert create_dataset((X.copy(), Y.astype(np.int8))).fingerprint == base.fingerprint
    others = [
        create_dataset((X[::-1], Y)),
        create_dataset((X, Y[::-1])),
        create_dataset((X, Y), class_names="abc"),
        create_dataset((X.reshape(30, 1, 2), Y)),
        create_dataset((X, Y), num_classes=4),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


NAN = np.where(np.arange(60).reshape(30, 2) == 41, np.nan, 1.0)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"train": (X, Y[:29])}, "train split: 30 examples, but 29 targets"),
    "empty": ({"train": (X[:0], Y[:0])}, "train split: is empty"),
    "empty test": ({"test": (X[:0], Y[:0])}, "test split: is empty"),
    "empty items": ({"test": Items([])}, "test split: is empty"),
    "no features": ({"train": (X[:, :0], Y)}, "train split: is empty"),
    "too few": ({"train": (X[:4], Y[:4])}, "4 training examples are too few .* test"),
    "nan": ({"train": (NAN, Y)}, "train split, example 20: a feature is not a finite"),
    "nan target": ({"train": (X, NAN[:, 1])}, "example 20: a target is not a finite"),
    "too large": (
        {"train": (np.full((30, 1), 1e300), Y)},
        "example 0: a feature is not",
    ),
    "label beyond": (
        {"test": (X[:3], [0, 2, 3])},
        "test split, example 2: label 3, but there are 3 classes, 0 to 2",
    ),
    "label beyond given": (
        {"num_classes": 2},
        "train split, example 2: label 2, but there are 2 classes",
    ),
    "label wraps": (
        {"test": (X[:3], [0, 1, 2**32 + 1]), "num_classes": 3},
        "example 2: label 4294967297, but there are 3",
    ),
    "negative label": ({"train": (X, Y - 1)}, "example 0: label -1; labels start at 0"),
    "prices": ({"train": (X, Y * 2000)}, "label 4000 is too great for a class"),
    "one-hot": (
        {"train": (X, np.eye(3, dtype=int)[Y])},
        "are one-hot; give the labels",
    ),
    "unknown name": (
        {"train": (X, Y.astype(str)), "test": (X[:2], ["0", "q"])},
        "test split, example 1: class 'q' is none of the classes",
    ),
    "names and numbers": (
        {"test": (X[:1], ["0"])},
        "names in one split and numbers in another",
    ),
    "names, regression": (
        {"train": (X, Y.astype(str)), "regression": True},
        "the targets are names; give numbers",
    ),
    "names of two dimensions": (
        {"train": (X, np.array([["a", "b"]] * 30))},
        "2-dimensional names",
    ),
    "numbers with classes": (
        {"train": (X, Y / 2), "num_classes": 3},
        "classes are giv",
    ),
    "other count": (
        {"class_names": "abcd", "num_classes": 3},
        "4 classes, but num_clas",
    ),
    "objects": ({"train": (np.array([{}] * 30), Y)}, "features are Python objects"),
    "ragged": (
        {"train": Items([([1, 2], 0), ([1, 2], 1), ([1], 1)])},
        r"train split, example 2: features of shape \(1,\), but example 0 has \(2,\)",
    ),
    "shape of test": (
        {"test": (X[:, :1], Y)},
        "test split: features of shape 1, .* 2;",
    ),
    "type of test": ({"test": (X / 2, Y)}, "test split: features of type float32"),
    "dates": ({"train": (np.zeros((30, 1), "M8[s]"), Y)}, "are of type datetime64"),
    "complex target": ({"train": (X, Y * 1j)}, "are of type complex128"),
    "64 bits": ({"train": (X.astype(int) + 2**40, Y)}, "exceed 32 bits"),
    "a number": ({"train": 3}, "train split: is of type int; give a pair"),
    "a dictionary": ({"train": {"x": X, "y": Y}}, "train split: is of type dict; "),
    "a list of pairs": ({"train": list(zip(X, Y))}, "of type list; .* see Items"),
    "rows of a table": ({"train": X}, "a ndarray, whose .* is a ndarray, not a pair"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        create_dataset(**{"train": (X, Y), "source": "mine", **arguments})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine")


def test_a_data_set_is_brought_into_its_specs_shape() -> None:
    spec = DatasetSpec((2, 3, 1), 2)
    flat = create_split(np.zeros((4, 6), np.uint8), np.arange(4) % 2)
    gray = create_split(np.zeros((4, 2, 3), np.uint8), np.arange(4) % 2)
    dataset = Dataset("d", "mine", fingerprint(flat), spec, flat, gray, flat)
    assert {s.features.shape for s in dataset.splits.values()} == {(4, 2, 3, 1)}
    turned = create_split(np.zeros((4, 3, 2), np.uint8), np.arange(4) % 2)
    with pytest.raises(InputError, match=r"mine: test split: .* 3x2, .* says 2x3x1"):
        Dataset("d", "mine", "", spec, flat, flat, turned)


def test_a_spec_is_the_same_after_json() -> None:
    spec = create_dataset(
        (NAN[:20], Y[:20] / 2), normalize=True, feature_names="ab"
    ).spec
    assert DatasetSpec.from_json(spec.to_json()) == spec
