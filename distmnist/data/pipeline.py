"""The input pipeline: this rank's shard of every global batch, as blocks of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core import autograph
from distmnist.core.errors import InputError
from distmnist.data import sampler
from distmnist.data.dataset import Augment, Split, StreamedSplit
from distmnist.data.random import Random
from distmnist.data.spec import DatasetSpec
from distmnist.data.tensors import normalize

Inputs = tuple[Any, ...]
"""Arrays or tensors, of several steps or of one."""


class Block(NamedTuple):
    """The input of consecutive steps, on this rank.

    Attributes:
        indices: examples of each step, integers [steps, batch_size].
        inputs: what the graph takes of each step, arrays [steps, batch_size, ...]; see
            `InputPipeline.signature`.
        position: position of the first of them in the stream of training examples. A
            Python integer would stay in a cache of TensorFlow: some 400 bytes a block.
        consumed: examples consumed by all ranks together after the block.
        waited: what this rank has waited for it, in seconds.
    """

    indices: NDArray[Any]
    inputs: Inputs
    position: np.int64
    consumed: int
    waited: float = 0.0

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
        self,
        source: Split | StreamedSplit,
        spec: DatasetSpec,
        batch_size: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        augment: Augment | None = None,
        shuffle_block: int = 0,
    ):
        """Starts at the first example.

        Args:
            source: training split, as tensors.
            spec: how its features are normalized.
            batch_size: examples per rank and step.
            seed: seed of the order, in [0, 2**32).
            rank: shard that this rank reads, in [0, size).
            size: number of shards.
            augment: changes features at random; None: nothing.
            shuffle_block: consecutive examples that are shuffled together; 0: all.
        """
        self._source = source
        self._spec = spec
        self._augment = augment
        self._order = sampler.Order(seed, source.size, shuffle_block)
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._size = size
        self.consumed = 0
        self.stride = batch_size * size

    @property
    def waiting_seconds(self) -> float:
        """What a step has waited for its examples so far, on average, in seconds."""
        return 0.0

    @property
    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """Shapes and types of `Block.inputs`."""
        return (tf.TensorSpec([None, self._batch_size], tf.int32),)

    def take(self, num_steps: int) -> Block:
        """Returns the input of the next steps.

        Args:
            num_steps: at least 1.
        """
        indices = self._indices(self.consumed, num_steps).astype(np.int32, copy=False)
        return self._block(indices, (indices,))

    def _indices(self, consumed: int, num_steps: int) -> NDArray[Any]:
        """Returns the examples of steps, [num_steps, batch_size]."""
        return sampler.batches(
            self._order, consumed, num_steps, self._batch_size, self._rank, self._size
        )

    def _block(self, indices: NDArray[Any], inputs: Inputs) -> Block:
        """Returns the next block, and counts it as consumed."""
        position = np.int64(self.consumed + self._rank * self._batch_size)
        self.consumed += len(indices) * self.stride
        return Block(indices, inputs, position, self.consumed)

    def blocks(self, step: int, stops: Iterable[int]) -> Iterator[Block]:
        """Yields the input up to each of the steps at which the loop stops.

        Args:
            step: completed steps.
            stops: increasing numbers of completed steps; read one at a time.
        """
        for stop in stops:
            yield self.take(stop - step)
            step = stop

    def last_step(self, max_steps: int, num_epochs: float | None, step: int) -> int:
        """Returns the step to train to.

        Args:
            max_steps: that step, unless `num_epochs` is given.
            num_epochs: passes over the split.
            step: completed steps.
        """
        if num_epochs is None:
            return max_steps
        remaining = math.ceil(num_epochs * self._order.num_examples) - self.consumed
        return step + max(0, math.ceil(remaining / self.stride))

    def read(self, inputs: Inputs, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a batch of examples, in the graph.

        Args:
            inputs: of a step, [batch, ...]; see `signature`.
            position: of the first of them in the stream, int64 scalar.

        Returns:
            Normalized features, [batch, *feature_shape]; targets as in the data set.
        """
        raw, targets = self._examples(inputs)
        features = normalize(raw, self._spec)
        if self._augment:
            augment = autograph.converted(self._augment)
            changed = augment(features, Random(self._seed, position))
            if not changed.shape.is_compatible_with(features.shape):
                raise InputError(
                    f"the data set's augment: returned the shape {changed.shape} for "
                    f"{features.shape}; return features of the same shape"
                )
            features = tf.ensure_shape(changed, features.shape)
        return features, targets

    def _examples(self, inputs: Inputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns raw features, and targets, of a step's inputs."""
        assert isinstance(self._source, Split)
        (indices,) = inputs
        features, targets = self._source
        return tf.gather(features, indices), tf.gather(targets, indices)
