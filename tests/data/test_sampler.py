"""The sampler: pure, complete, and the same stream for every number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.data import sampler
from distmnist.data.sampler import Order

ORDERS = [Order(3, 101), Order(3, 101, block=10), Order(3, 101, block=200)]


def epoch(order: Order, number: int = 0) -> list[int]:
    """Returns the examples of an epoch, in order."""
    first = number * order.num_examples
    indices: list[int] = order.at(np.arange(first, first + order.num_examples)).tolist()
    return indices


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    order = epoch(Order(1, 1000), 2)
    assert sorted(order) == list(range(1000))
    sampler._drawn.cache_clear()
    assert order == epoch(Order(1, 1000), 2)
    assert order != epoch(Order(1, 1000), 3)
    assert order != epoch(Order(2, 1000), 2)


def test_order_never_changes_between_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    # A run that is resumed with a newer NumPy must continue in the same order.
    assert epoch(Order(7, 10), 3) == [7, 4, 1, 6, 8, 3, 5, 2, 9, 0]
    blocks = epoch(Order(7, 10, block=4), 3)
    monkeypatch.setattr(sampler, "_DRAWN", 0)
    computed = epoch(Order(7, 10), 3)
    assert blocks == [8, 9, 0, 7, 2, 4, 3, 1, 6, 5]
    assert computed == [7, 5, 0, 8, 4, 6, 9, 1, 2, 3]


@given(
    size=st.integers(1, 3000),
    block=st.integers(0, 3500),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_epoch_has_every_example_once(size: int, block: int, seed: int) -> None:
    order = Order(seed, size, block)
    for number in range(2):
        assert sorted(epoch(order, number)) == list(range(size))


def test_examples_of_a_block_come_together() -> None:
    order = Order(0, 1000, block=100)
    cuts = []
    for number in range(3):
        indices = epoch(order, number)
        for start in range(0, 1000, 100):
            block = np.array(indices[start : start + 100])
            distances = (block - block[0]) % 1000
            assert min(np.ptp(distances), np.ptp((distances + 500) % 1000)) == 99
            assert sorted(block) != block.tolist()
        cuts.append((indices[0], min(indices[:100]) % 100))
    # Blocks begin elsewhere each epoch, so that other examples come together.
    assert len(set(cuts)) == 3


@pytest.mark.parametrize("block", [0, 10_000, 10**9])
def test_more_examples_than_32_bits_count(block: int) -> None:
    size = 3 * 10**9
    positions = np.array([0, 1, 10_001, size - 1, size, 2 * size - 7], np.int64)
    indices = Order(0, size, block).at(positions)
    assert 0 <= indices.min() <= indices.max() < size
    assert len(set(indices.tolist())) == len(positions)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_ranks_together_take_the_stream(order: Order, size: int) -> None:
    batch_size, steps = 5, 30
    ranks = [
        sampler.batches(order, 17, steps, batch_size, rank, size)
        for rank in range(size)
    ]
    together = np.stack(ranks, axis=1).reshape(-1)
    expected = order.at(np.arange(17, 17 + steps * batch_size * size))
    np.testing.assert_array_equal(together, expected)
    assert ranks[0].shape == (steps, batch_size)


@pytest.mark.parametrize("order", ORDERS)
def test_every_example_once_an_epoch_while_the_number_of_ranks_changes(
    order: Order,
) -> None:
    consumed, taken = 0, list[int]()
    for size, batch_size, steps in [(3, 7, 4), (2, 5, 9), (5, 3, 1), (1, 13, 20)]:
        for _ in range(steps):
            for rank in range(size):
                batch = sampler.batches(order, consumed, 1, batch_size, rank, size)
                taken.extend(batch.ravel().tolist())
            consumed += size * batch_size
    for start in range(0, len(taken) - order.num_examples, order.num_examples):
        part = taken[start : start + order.num_examples]
        assert sorted(part) == list(range(order.num_examples))
    assert len(taken) > 3 * order.num_examples


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_of_any_length_make_the_same_stream(order: Order) -> None:
    whole = sampler.batches(order, 0, 20, 4, 1, 3)
    parts = [sampler.batches(order, s * 12, 4, 4, 1, 3) for s in range(0, 20, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("num_examples", [1, 2, 10, 997])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_shards_cover_a_split(num_examples: int, size: int) -> None:
    shards = [sampler.shard(num_examples, rank, size) for rank in range(size)]
    covered = [i for shard in shards for i in range(num_examples)[shard]]
    assert covered == list(range(num_examples))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1
