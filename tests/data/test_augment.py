"""Augmentations: random by the example's position alone, and what they do."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.errors import InputError
from distmnist.data import augment
from distmnist.data.dataset import Augment, Split
from distmnist.data.pipeline import InputPipeline
from distmnist.data.random import Random
from distmnist.data.spec import DatasetSpec

AUGMENTS = {
    "flip": augment.flip,
    "shift": augment.shift(2),
    "crop": augment.crop(4, 3),
    "all": augment.compose(augment.flip, augment.shift(1), augment.crop(5, 5)),
}
IMAGES = np.random.RandomState(0).uniform(size=(12, 6, 5, 3)).astype(np.float32)


def apply(
    function: Augment, images: np.ndarray, position: int, seed: int = 3
) -> np.ndarray:
    """Augments in a graph, with a batch of unknown size, as the pipeline does."""
    traced = tf.function(
        lambda images, position: function(images, Random(seed, position)),
        input_signature=[
            tf.TensorSpec([None, *images.shape[1:]]),
            tf.TensorSpec([], tf.int64),
        ],
    )
    return traced(images, position).numpy()


@pytest.mark.parametrize("function", AUGMENTS.values(), ids=AUGMENTS)
def test_an_example_is_changed_alike_on_any_rank(function: Augment) -> None:
    whole = apply(function, IMAGES, 40)
    assert whole.shape == IMAGES.shape
    for cuts in ([6], [4, 8], [1, 2, 11]):
        parts = np.split(IMAGES, cuts)
        starts = [40 + start for start in (0, *cuts)]
        split = [apply(function, *each) for each in zip(parts, starts)]
        np.testing.assert_array_equal(np.concatenate(split), whole)
    # Other positions, and other seeds, change them in other ways.
    assert (apply(function, IMAGES, 41) != whole).any()
    assert (apply(function, IMAGES, 40, seed=4) != whole).any()


def test_ranks_read_what_one_rank_reads() -> None:
    raw = np.random.RandomState(1).randint(0, 256, (23, 6, 5, 3)).astype(np.uint8)
    source = Split(tf.constant(raw), tf.range(23))
    spec = DatasetSpec((6, 5, 3), 23)

    def read(batch_size: int, rank: int, size: int) -> list[np.ndarray]:
        pipeline = InputPipeline(
            source, spec, batch_size, 7, rank, size, AUGMENTS["all"]
        )
        block = pipeline.take(8)
        positions = block.position + pipeline.stride * np.arange(8)
        return [
            pipeline.read((indices,), tf.constant(position, tf.int64))[0].numpy()
            for indices, position in zip(block.indices, positions)
        ]

    one = read(6, 0, 1)
    three = [read(2, rank, 3) for rank in range(3)]
    for step, together in enumerate(one):
        parts = [steps[step] for steps in three]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_flip_mirrors_about_half() -> None:
    images = np.tile(IMAGES[:1], [400, 1, 1, 1])
    flipped = apply(augment.flip, images, 0)
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((flipped == images).all(axis=(1, 2, 3)) ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_shift_moves_by_every_distance_and_fills_with_zeros() -> None:
    images = np.zeros((400, 7, 7, 1), np.float32)
    images[:, 3, 3] = 1
    places = np.argwhere(apply(augment.shift(2), images, 0))
    assert {tuple(place[1:3]) for place in places} == {
        (row, column) for row in range(1, 6) for column in range(1, 6)
    }
    assert len(places) == 400
    np.testing.assert_array_equal(apply(augment.shift(0), images, 0), images)


def test_crop_of_the_whole_changes_nothing() -> None:
    np.testing.assert_allclose(apply(augment.crop(6, 5), IMAGES, 0), IMAGES, atol=1e-6)


def test_crop_takes_parts_from_edge_to_edge() -> None:
    columns = np.tile(np.arange(8, dtype=np.float32)[:, None], [300, 8, 1, 1])
    cropped = apply(augment.crop(8, 4), columns, 0)
    assert set(cropped[:, 0, 0, 0]) == {0, 1, 2, 3, 4}
    assert set(cropped[:, 0, -1, 0]) == {3, 4, 5, 6, 7}


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (augment.crop(7, 5), (6, 5, 3), r"crop\(7, 5\): larger than the images, 6x5"),
        (
            augment.flip,
            (6, 5),
            "flip: the features are no images, but float32 of .* 6x5",
        ),
        (augment.shift(1), (9,), "shift: the features are no images"),
    ],
)
def test_what_does_not_fit_is_refused(
    function: Augment, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        function(tf.zeros([2, *shape]), Random(0, tf.constant(0, tf.int64)))
    with pytest.raises(InputError, match=r"shift\(-1\)"):
        augment.shift(-1)
