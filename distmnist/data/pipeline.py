"""The input pipeline: this rank's shard of every global batch, as blocks of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.data import sampler
from distmnist.data.dataset import Split
from distmnist.data.tensors import scale


class Block(NamedTuple):
    """The input of consecutive steps, on this rank.

    Attributes:
        indices: examples of each step, int32 [steps, batch_size].
        position: position of the first of them in the stream of training examples.
        consumed: examples consumed by all ranks together after the block.
    """

    indices: NDArray[np.int32]
    position: int
    consumed: int

    @property
    def num_steps(self) -> int:
        """The number of steps."""
        return len(self.indices)


class InputPipeline:
    """Reads a source in the sampler's order, on one rank of several.

    Attributes:
        consumed: examples consumed by all ranks together: the whole state. Assign it
            to resume.
        stride: positions between two consecutive steps of a rank: the global batch
            size.
    """

    def __init__(
        self, source: Split, batch_size: int, seed: int, rank: int = 0, size: int = 1
    ):
        """Starts at the first example.

        Args:
            source: training split, as tensors.
            batch_size: examples per rank and step.
            seed: seed of the order, in [0, 2**32).
            rank: shard that this rank reads, in [0, size).
            size: number of shards.
        """
        self._source = source
        self._num_examples = source.size
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._size = size
        self.consumed = 0
        self.stride = batch_size * size

    def take(self, num_steps: int) -> Block:
        """Returns the input of the next steps.

        Args:
            num_steps: at least 1.
        """
        start = self.consumed
        indices = sampler.batches(
            self._seed,
            start,
            num_steps,
            self._batch_size,
            self._rank,
            self._size,
            self._num_examples,
        )
        self.consumed += num_steps * self.stride
        return Block(indices, start + self._rank * self._batch_size, self.consumed)

    def blocks(self, step: int, stops: Iterable[int]) -> Iterator[Block]:
        """Yields the input up to each of the steps at which the loop stops.

        Args:
            step: completed steps.
            stops: increasing numbers of completed steps; read one at a time.
        """
        for stop in stops:
            yield self.take(stop - step)
            step = stop

    def read(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a batch of examples, in the graph.

        Args:
            indices: int32 [batch].

        Returns:
            Features, float32 [batch, num_features], in [0, 1]; targets, int32 [batch].
        """
        features = scale(tf.gather(self._source.features, indices))
        return features, tf.gather(self._source.targets, indices)
