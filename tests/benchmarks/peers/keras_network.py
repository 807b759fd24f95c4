"""The network in Keras."""

from __future__ import annotations

import math

import keras

from tests.benchmarks.measuring import LAYERS


def build() -> keras.Model:
    """Returns the network; its outputs are logits."""
    sizes = list(zip(LAYERS, LAYERS[1:]))
    return keras.Sequential(
        [
            keras.Input((LAYERS[0],)),
            *(
                keras.layers.Dense(
                    units,
                    activation=None if units == LAYERS[-1] else "relu",
                    kernel_initializer=keras.initializers.TruncatedNormal(
                        stddev=1 / math.sqrt(inputs)
                    ),
                )
                for inputs, units in sizes
            ),
        ]
    )
