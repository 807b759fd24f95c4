"""Dropout that is invariant to the number of ranks."""

from __future__ import annotations

import tensorflow as tf

# Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is
# counter-based: each value of its counter yields four numbers, on every rank the same.
_PHILOX = 1
_NUMBERS = 4


def dropout(
    units: tf.Tensor, rate: float, seed: int, position: tf.Tensor, layer: int = 0
) -> tf.Tensor:
    """Sets units to zero at random, and scales up the others to keep the mean.

    The choice depends only on the seed of the run and on each example's position in the
    stream of training examples: each example has its own random numbers, the same on
    whichever rank it is processed.

    Args:
        units: float [batch, units].
        rate: fraction of units set to zero, in [0, 1).
        seed: seed of the run.
        position: position of the batch's first example; see `network.Network`.
        layer: index of this dropout in its network, so that each draws other numbers.

    Returns:
        The tensor, of the same type and shape.
    """
    batch, width = tf.shape(units)[0], units.shape[1]
    blocks = -(-width // _NUMBERS)  # counter values per example
    start = tf.cast(position, tf.uint64) * tf.constant(blocks, tf.uint64)
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[batch, blocks * _NUMBERS],
        key=tf.constant([seed], tf.uint64),
        counter=tf.stack([start, tf.constant(layer, tf.uint64)]),
        alg=_PHILOX,
    )
    kept = units / tf.cast(1.0 - rate, units.dtype)
    return tf.where(numbers[:, :width] >= rate, kept, tf.zeros_like(kept))
