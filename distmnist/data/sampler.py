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
from collections.abc import Iterator
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
            positions: ascending, at least 0, int64 [n].

        Returns:
            Indices of examples, int32 or, of large sources, int64 [n].
        """
        parts = _periods(positions, self.num_examples)
        return np.concatenate([self._in_epoch(*part) for part in parts])

    def _in_epoch(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[Any]:
        """Returns the examples at offsets in an epoch."""
        key, size = (self.seed, epoch), self.num_examples
        if not self.block:
            return _permuted(offsets, size, key)
        num_blocks, parts = size // self.block, []
        for number, places in _periods(offsets, self.block):
            block, length = number, size - number * self.block
            if number < num_blocks:  # what is left of the examples comes last
                block = int(_permuted(np.array([number]), num_blocks, (*key, 1))[0])
                length = self.block
            places = _permuted(places, length, (*key, 2, block))
            parts.append(places.astype(np.int64) + block * self.block)
        # So that another part is left, and other examples make a block, each epoch.
        shift = np.random.RandomState([*key, 0]).randint(size, dtype=np.int64)
        indices: NDArray[Any] = (np.concatenate(parts) + shift) % size
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


def _periods(
    positions: NDArray[np.int64], length: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yields the number of each period, and ascending positions' offsets in it."""
    first, last = (int(position) // length for position in positions[[0, -1]])
    for number in range(first, last + 1):
        begin, end = np.searchsorted(
            positions, (number * length, (number + 1) * length)
        )
        if begin < end:
            yield number, positions[begin:end] - number * length


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
