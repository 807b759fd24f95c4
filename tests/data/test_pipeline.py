"""The input pipeline: its shards, its blocks, and that its state is one number."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from distmnist.data import sampler
from distmnist.data.dataset import Split
from distmnist.data.pipeline import InputPipeline
from distmnist.data.spec import DatasetSpec

NUM_EXAMPLES = 23
SPEC = DatasetSpec((2,), NUM_EXAMPLES)


@pytest.fixture
def source() -> Split:
    """A split whose features and targets show the index of their example."""
    index = np.arange(NUM_EXAMPLES)
    features = np.stack([index, index + 100], axis=1).astype(np.uint8)
    return Split(tf.constant(features), tf.constant(index, tf.int32))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_shards_partition_every_global_batch(source: Split, size: int) -> None:
    pipelines = [InputPipeline(source, SPEC, 4, 7, rank, size) for rank in range(size)]
    blocks = [pipeline.take(9) for pipeline in pipelines]
    together = np.stack([block.indices for block in blocks], axis=1).ravel()
    expected = sampler.Order(7, NUM_EXAMPLES).at(np.arange(9 * 4 * size))
    np.testing.assert_array_equal(together, expected)
    assert [block.position for block in blocks] == [4 * rank for rank in range(size)]
    assert {block.consumed for block in blocks} == {9 * 4 * size}
    assert {pipeline.stride for pipeline in pipelines} == {4 * size}


def test_the_examples_consumed_are_the_whole_state(source: Split) -> None:
    whole = InputPipeline(source, SPEC, 4, 7, rank=1, size=2)
    first, second = whole.take(5), whole.take(6)
    resumed = InputPipeline(source, SPEC, 4, 7, rank=1, size=2)
    resumed.consumed = first.consumed
    again = resumed.take(6)
    np.testing.assert_array_equal(again.indices, second.indices)
    assert again[2:] == second[2:]


def test_blocks_reach_each_stop(source: Split) -> None:
    pipeline = InputPipeline(source, SPEC, 4, 7)
    blocks = list(pipeline.blocks(10, iter([11, 14, 20])))
    assert [block.num_steps for block in blocks] == [1, 3, 6]
    assert [block.consumed for block in blocks] == [4, 16, 40]


def test_reads_scaled_features_with_their_targets(source: Split) -> None:
    pipeline = InputPipeline(source, SPEC, 4, 7)
    features, targets = pipeline.read((tf.constant([3, 22]),), tf.constant(0, tf.int64))
    expected = np.array([[3, 103], [22, 122]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(targets, [3, 22])
