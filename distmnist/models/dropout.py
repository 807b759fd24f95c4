"""Dropout that does not know how many ranks there are."""

from __future__ import annotations

import tensorflow as tf

# Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") makes four
# numbers at each value of its counter, whoever asks for them.
_PHILOX = 1
_NUMBERS = 4


def dropout(
    units: tf.Tensor, rate: float, seed: int, position: tf.Tensor, layer: int = 0
) -> tf.Tensor:
    """Sets units to zero at random, and scales up the others to make up for it.

    Which ones, depends on the seed of the run and on the example's position in the
    stream of training examples alone: each example has numbers of its own, and so they
    are the same whichever rank it comes to.

    Args:
        units: float [batch, units].
        rate: the fraction that becomes zero, in [0, 1).
        seed: seed of the run.
        position: of the batch's first example; see `model.Network`.
        layer: tells several dropouts of a network apart.

    Returns:
        The tensor, of the same type and shape.
    """
    batch, width = tf.shape(units)[0], units.shape[1]
    blocks = -(-width // _NUMBERS)  # values of the counter that an example takes
    start = tf.cast(position, tf.uint64) * tf.constant(blocks, tf.uint64)
    numbers = tf.raw_ops.StatelessRandomUniformV2(
        shape=[batch, blocks * _NUMBERS],
        key=tf.constant([seed], tf.uint64),
        counter=tf.stack([start, tf.constant(layer, tf.uint64)]),
        alg=_PHILOX,
    )
    kept = units / tf.cast(1.0 - rate, units.dtype)
    return tf.where(numbers[:, :width] >= rate, kept, tf.zeros_like(kept))
