"""The networks and their optimizer in Keras."""

from __future__ import annotations

import itertools
import math

import keras
from keras import layers

from tests.benchmarks.measuring import LAYERS, TASKS


def build(model: str) -> keras.Model:
    """Returns a network of images [batch, 784]; its outputs are logits.

    Args:
        model: Name of the network.
    """
    stack = {"mlp": _mlp, "cnn": _cnn}[model]()
    return keras.Sequential([keras.Input((LAYERS[0],)), *stack])


def optimizer(model: str) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a network."""
    task = TASKS[model]
    return keras.optimizers.SGD(task.learning_rate, task.momentum)


def _mlp() -> list[layers.Layer]:
    *hidden, classes = itertools.pairwise(LAYERS)
    return [*(_dense(*shape, "relu") for shape in hidden), _dense(*classes)]


def _cnn() -> list[layers.Layer]:
    return [
        layers.Reshape((28, 28, 1)),
        _convolution(1, 32),
        layers.MaxPooling2D(),
        _convolution(32, 64),
        layers.MaxPooling2D(),
        layers.Flatten(),
        _dense(7 * 7 * 64, 1024, "relu"),
        layers.Dropout(0.5),
        _dense(1024, 10),
    ]


def _dense(inputs: int, units: int, activation: str | None = None) -> layers.Layer:
    return layers.Dense(units, activation, kernel_initializer=_initializer(inputs))


def _convolution(inputs: int, channels: int) -> layers.Layer:
    return layers.Conv2D(
        *(channels, 5),
        padding="same",
        activation="relu",
        kernel_initializer=_initializer(5 * 5 * inputs),
    )


def _initializer(fan_in: int) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=1 / math.sqrt(fan_in))
