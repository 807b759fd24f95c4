"""Variables of layers, and their initialization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Layer(NamedTuple):
    """Variables of one layer.

    Attributes:
        weights: float32 [inputs, units] if fully connected, float32 [height, width,
            input channels, units] if convolutional.
        biases: float32 [units].
    """

    weights: tf.Variable
    biases: tf.Variable


def create_layer(name: str, shape: Sequence[int], seed: tuple[int, int]) -> Layer:
    """Creates the variables of a layer.

    Weights are truncated-normal with a standard deviation of 1/sqrt(fan-in), biases are
    zero.

    Args:
        name: prefix of the variables' names.
        shape: shape of the weights; the last dimension is the number of units.
        seed: seed of the run, and index of the layer: each layer has its own stream.
    """
    stddev = 1.0 / math.sqrt(math.prod(shape[:-1]))
    weights = tf.random.stateless_truncated_normal(shape, seed=seed, stddev=stddev)
    return Layer(
        tf.Variable(weights, name=f"{name}/weights"),
        tf.Variable(tf.zeros(shape[-1]), name=f"{name}/biases"),
    )
