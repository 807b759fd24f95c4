"""The sampler: which examples a rank takes at a step, as pure functions.

The training examples form one endless stream: epoch after epoch, each a new
permutation drawn from (seed, epoch). A step of `size` ranks takes the next
`size * batch_size` positions of the stream, and each rank its own slice of
them. So N ranks of batch B see what one rank of batch N * B sees; every
example comes once an epoch, on one rank, whatever N is; and the number of
examples consumed is all the state there is, on any number of ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.data import permutation

# Up to this size, a permutation is drawn as a whole, and takes 64 MB at most; above it,
# it is computed index by index. It must not change: runs are resumed in its order.
_DRAWN = 1 << 24


class Order(NamedTuple):
    """The endless stream of training examples.

    Attributes:
        seed: seed of the run, in [0, 2**32).
        num_examples: number of training examples.
        block: examples that are near each other in the source and come near each other
            in an epoch: blocks of so many are shuffled, and the examples of each. 0:
            all are shuffled.
    """

    seed: int
    num_examples: int
    block: int = 0

    def at(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Returns the examples at positions of the stream.

        Args:
            positions: int64 [n], at least 0.

        Returns:
            Indices of examples, int32 or, of large sources, int64 [n].
        """
        epochs, offsets = np.divmod(positions, self.num_examples)
        return _by_group(epochs, offsets, self._in_epoch)

    def _in_epoch(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[Any]:
        """Returns the examples at offsets in an epoch."""
        key, size = (self.seed, epoch), self.num_examples
        if not self.block:
            return _permuted(offsets, size, key)
        # What is left of the last block comes last; it is another part each epoch.
        shift = np.random.RandomState([*key, 0]).randint(size, dtype=np.int64)
        slots, places = np.divmod(offsets, self.block)
        num_blocks = size // self.block
        whole = slots < num_blocks
        blocks = slots.copy()
        blocks[whole] = _permuted(slots[whole], num_blocks, (*key, 1))

        def in_block(block: int, places: NDArray[np.int64]) -> NDArray[Any]:
            length = min(self.block, size - block * self.block)
            return _permuted(places, length, (*key, 2, block))

        places = _by_group(blocks, places, in_block)
        indices: NDArray[Any] = (blocks * self.block + places + shift) % size
        return indices


def batches(
    order: Order, consumed: int, num_steps: int, batch_size: int, rank: int, size: int
) -> NDArray[Any]:
    """Returns the examples that one rank takes in the next steps.

    Args:
        order: the stream.
        consumed: examples consumed before, by all ranks together.
        num_steps: number of steps.
        batch_size: examples per rank and step.
        rank: index of this rank, in [0, size).
        size: number of ranks.

    Returns:
        Indices of examples, int32 or int64 [num_steps, batch_size].
    """
    first = consumed + rank * batch_size
    steps = np.arange(num_steps, dtype=np.int64)[:, None] * (size * batch_size)
    positions = first + steps + np.arange(batch_size)
    return order.at(positions.ravel()).reshape(positions.shape)


def shard(num_examples: int, rank: int, size: int) -> slice:
    """Returns the part of a split that one rank evaluates.

    The shards of all ranks are consecutive, cover the split, and differ in length by
    at most one example.

    Args:
        num_examples: size of the split.
        rank: index of this rank, in [0, size).
        size: number of ranks.
    """
    return slice(num_examples * rank // size, num_examples * (rank + 1) // size)


def _by_group(
    groups: NDArray[np.int64],
    values: NDArray[np.int64],
    function: Callable[[int, NDArray[np.int64]], NDArray[Any]],
) -> NDArray[Any]:
    """Returns a function of each group's number and its values, in their order."""
    if groups.min() == groups.max():  # mostly
        return function(int(groups[0]), values)
    result = np.empty(len(values), np.int64)
    for number in np.unique(groups).tolist():
        members = groups == number
        result[members] = function(number, values[members])
    return result


def _permuted(
    indices: NDArray[np.int64], size: int, key: tuple[int, ...]
) -> NDArray[Any]:
    """Returns where a random permutation of [0, size) takes indices."""
    if size > _DRAWN:
        return permutation.permuted(indices, size, key)
    return _drawn(size, key)[indices]


@functools.lru_cache(maxsize=4)
def _drawn(size: int, key: tuple[int, ...]) -> NDArray[np.int32]:
    """Returns a random permutation of [0, size)."""
    # The stream of RandomState is frozen (NumPy's NEP 19), that of Generator is
    # not: a run must resume in the same order with a newer NumPy.
    return np.random.RandomState(key).permutation(size).astype(np.int32)
