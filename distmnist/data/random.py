"""Random numbers of examples, invariant to the number of ranks.

They depend on the seed of the run and on each example's position in the stream of
training examples alone: each example has its own numbers, the same on whichever rank
it is processed.
"""

from __future__ import annotations

import tensorflow as tf

# Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is
# counter-based: each value of its counter yields four numbers, on every rank the same.
_PHILOX = 1
_NUMBERS = 4

# Draws of augmentations have indices from here, draws of networks lower ones.
_AUGMENTATION = 2**32


def uniform(
    batch: tf.Tensor, width: int, seed: int, position: tf.Tensor, draw: int
) -> tf.Tensor:
    """Returns random numbers for a batch, float32 [batch, width] in [0, 1).

    Args:
        batch: number of examples, int32 scalar.
        width: numbers for each example.
        seed: seed of the run.
        position: position of the batch's first example in the stream, int64 scalar.
        draw: index of this draw, at least 0; each yields other numbers.
    """
    blocks = -(-width // _NUMBERS)  # counter values per example
    start = tf.cast(position, tf.uint64) * tf.constant(blocks, tf.uint64)
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[batch, blocks * _NUMBERS],
        key=tf.constant([seed], tf.uint64),
        counter=tf.stack([start, tf.constant(draw, tf.uint64)]),
        alg=_PHILOX,
    )
    return numbers[:, :width]


class Random:
    """The random numbers of a batch, for augmentation; each draw yields others."""

    def __init__(self, seed: int, position: tf.Tensor):
        """Draws nothing yet.

        Args:
            seed: seed of the run.
            position: position of the batch's first example in the stream.
        """
        self._seed = seed
        self._position = position
        self._draws = 0

    def uniform(
        self, batch: tf.Tensor, width: int = 1, low: float = 0.0, high: float = 1.0
    ) -> tf.Tensor:
        """Returns random numbers, float32 [batch, width] in [low, high).

        Args:
            batch: number of examples, int32 scalar: `tf.shape(features)[0]`.
            width: numbers for each example.
            low: least value.
            high: upper bound.
        """
        draw = _AUGMENTATION + self._draws
        self._draws += 1
        numbers = uniform(batch, width, self._seed, self._position, draw)
        return low + (high - low) * numbers
