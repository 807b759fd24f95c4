"""The sampler: pure, complete, and the same stream for every number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from distmnist.data import sampler


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    order = sampler.epoch_order(seed=1, epoch=2, num_examples=1000)
    assert sorted(order) == list(range(1000))
    sampler.epoch_order.cache_clear()
    np.testing.assert_array_equal(order, sampler.epoch_order(1, 2, 1000))
    assert not np.array_equal(order, sampler.epoch_order(1, 3, 1000))
    assert not np.array_equal(order, sampler.epoch_order(2, 2, 1000))


def test_order_never_changes_between_versions() -> None:
    # A run that is resumed with a newer NumPy must continue in the same order.
    order = sampler.epoch_order(7, 3, 10).tolist()
    assert order == [7, 4, 1, 6, 8, 3, 5, 2, 9, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_ranks_together_take_the_stream(size: int) -> None:
    num_examples, batch_size, steps = 101, 5, 30
    ranks = [
        sampler.batches(3, 17, steps, batch_size, rank, size, num_examples)
        for rank in range(size)
    ]
    together = np.stack(ranks, axis=1).reshape(-1)
    expected = sampler.stream(3, 17, steps * batch_size * size, num_examples)
    np.testing.assert_array_equal(together, expected)
    assert ranks[0].dtype == np.int32
    assert ranks[0].shape == (steps, batch_size)


def test_every_example_once_an_epoch_while_the_number_of_ranks_changes() -> None:
    num_examples, consumed = 211, 0
    taken: list[int] = []
    for size, batch_size, steps in [(3, 7, 4), (2, 5, 9), (5, 3, 1), (1, 13, 40)]:
        for _ in range(steps):
            for rank in range(size):
                batch = sampler.batches(
                    0, consumed, 1, batch_size, rank, size, num_examples
                )
                taken.extend(batch.ravel())
            consumed += size * batch_size
    for start in range(0, len(taken) - num_examples, num_examples):
        epoch = taken[start : start + num_examples]
        assert sorted(epoch) == list(range(num_examples))
    assert len(taken) > 3 * num_examples


def test_blocks_of_any_length_make_the_same_stream() -> None:
    whole = sampler.batches(0, 0, 20, 4, 1, 3, 50)
    parts = [sampler.batches(0, s * 12, 4, 4, 1, 3, 50) for s in range(0, 20, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("num_examples", [1, 2, 10, 997])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_shards_cover_a_split(num_examples: int, size: int) -> None:
    shards = [sampler.shard(num_examples, rank, size) for rank in range(size)]
    covered = [i for shard in shards for i in range(num_examples)[shard]]
    assert covered == list(range(num_examples))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1
