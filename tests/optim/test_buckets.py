"""Gradient buckets: their number, and their members."""

from __future__ import annotations

import itertools

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist.core.config import Config
from distmnist.distributed import devices
from distmnist.optim import buckets


def test_gradients_on_a_cpu_are_a_bucket_for_each_64_mb() -> None:
    assert buckets.count(Config(), 24 * 2**20, on_gpu=False) == 1
    on_gpu = devices.has_gpu()  # there is none where tests run
    assert buckets.count(Config(), 2**30, on_gpu) == 16


def test_gradients_on_a_gpu_are_a_bucket_for_each_4_mb() -> None:
    expected = {100: 1, 5 * 2**20: 1, 24 * 2**20: 6, 2**30: 16, 2**32: 64}
    for num_bytes, number in expected.items():
        assert buckets.count(Config(), num_bytes, on_gpu=True) == number
    assert buckets.count(Config(xla=True), 24 * 2**20, on_gpu=True) == 1


@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_flag_decides(on_gpu: bool) -> None:
    assert buckets.count(Config(gradient_buckets=3), 100, on_gpu) == 3


def split(sizes: list[int], order: list[int], number: int) -> list[list[int]]:
    """Returns the members of the buckets of a chain of layers, applied in an order."""
    with tf.Graph().as_default():
        weights = [tf.compat.v1.placeholder(tf.float32, [size]) for size in sizes]
        x = tf.constant(1.0)
        for index in order:
            x = x * tf.reduce_sum(weights[index]) + 1.0
        return buckets.split(tf.gradients(x, weights), number)


def test_members_are_in_the_order_of_the_backward_pass() -> None:
    assert split([4, 4, 4, 4], [0, 1, 2, 3], 2) == [[3, 2], [1, 0]]
    assert split([4, 4, 4, 4], [1, 0, 3, 2], 4) == [[2], [3], [0], [1]]


def test_a_large_gradient_is_a_bucket_of_its_own() -> None:
    assert split([10, 1000, 10], [0, 1, 2], 3) == [[2], [1], [0]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 8), st.data()
)
def test_each_gradient_is_in_one_bucket(
    sizes: list[int], number: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(sizes))))
    found = split(sizes, order, number)
    assert 1 <= len(found) <= number and all(found)
    members = list(itertools.chain(*found))
    assert sorted(members) == list(range(len(sizes)))
    # Each at most as large as its share, and its largest member.
    for bucket in found:
        parts = [sizes[index] for index in bucket]
        assert sum(parts) <= sum(sizes) / number + max(parts)
    if number > 1:
        assert members == order[::-1]
