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

import numpy as np
from numpy.typing import NDArray


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_examples: int) -> NDArray[np.int32]:
    """Returns the order of the examples in one epoch.

    Args:
        seed: seed of the run, in [0, 2**32).
        epoch: index of the epoch, from 0.
        num_examples: number of training examples.

    Returns:
        A permutation of [0, num_examples), int32, read-only.
    """
    # The stream of RandomState is frozen (NumPy's NEP 19), that of Generator is
    # not: a run must resume in the same order with a newer NumPy.
    permutation = np.random.RandomState([seed, epoch]).permutation(num_examples)
    order = permutation.astype(np.int32)
    order.setflags(write=False)
    return order


def stream(seed: int, start: int, count: int, num_examples: int) -> NDArray[np.int32]:
    """Returns the examples at positions [start, start + count) of the stream.

    Args:
        seed: seed of the run.
        start: examples consumed before, by all ranks together.
        count: number of positions.
        num_examples: number of training examples.

    Returns:
        Indices of examples, int32 [count].
    """
    parts = []
    while count > 0:
        epoch, offset = divmod(start, num_examples)
        part = epoch_order(seed, epoch, num_examples)[offset : offset + count]
        parts.append(part)
        start += len(part)
        count -= len(part)
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def batches(
    seed: int,
    consumed: int,
    num_steps: int,
    batch_size: int,
    rank: int,
    size: int,
    num_examples: int,
) -> NDArray[np.int32]:
    """Returns the examples that one rank takes in the next steps.

    Args:
        seed: seed of the run.
        consumed: examples consumed before, by all ranks together.
        num_steps: number of steps.
        batch_size: examples per rank and step.
        rank: index of this rank, in [0, size).
        size: number of ranks.
        num_examples: number of training examples.

    Returns:
        Indices of examples, int32 [num_steps, batch_size].
    """
    global_batch = size * batch_size
    indices = stream(seed, consumed, num_steps * global_batch, num_examples)
    return indices.reshape(num_steps, size, batch_size)[:, rank]


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
