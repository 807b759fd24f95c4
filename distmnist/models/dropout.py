"""Dropout that is invariant to the number of ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from distmnist.core.errors import InputError
from distmnist.data import random


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
    return dropout_like(units, rate, None, seed, position, layer)


def dropout_like(
    units: tf.Tensor,
    rate: float,
    noise_shape: Sequence[Any] | None,
    seed: int,
    position: tf.Tensor,
    layer: int,
) -> tf.Tensor:
    """Applies dropout as Keras does, to units of any shape; see `dropout`.

    Args:
        units: float [batch, ...].
        rate: fraction of units set to zero, in [0, 1).
        noise_shape: shape of the random choice, [batch, ...], which is broadcast; a
            size of None is that of the units. None: each unit is chosen by itself.
        seed: seed of the run.
        position: position of the batch's first example.
        layer: index of this dropout in its network.

    Returns:
        The tensor, of the same type and shape.
    """
    sizes = [
        given if isinstance(given, int) else size
        for given, size in zip(
            (noise_shape or units.shape)[1:], units.shape[1:].as_list()
        )
    ]
    if None in sizes:
        raise InputError(
            f"dropout: units of the shape {units.shape}: only the size of the batch "
            "may be unknown; give the network inputs of a fixed shape"
        )
    batch = tf.shape(units)[0]
    numbers = random.uniform(batch, math.prod(sizes), seed, position, layer)
    if len(sizes) != 1:
        numbers = tf.reshape(numbers, [batch, *sizes])
    kept = units / tf.cast(1.0 - rate, units.dtype)
    return tf.where(numbers >= rate, kept, tf.zeros_like(kept))
