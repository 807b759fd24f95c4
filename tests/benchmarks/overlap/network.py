"""Layers in TensorFlow that have gradients and a backward pass, and nothing else."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from distmnist import Network
from tests.benchmarks.overlap import backward


class Layers(Network):
    """Layers one after the other."""

    def __init__(self, config: Any, spec: Any):
        """Creates the layers, of config.hparams' size and time."""
        super().__init__(config, spec)
        hparams = config.hparams
        self._layers = create(
            hparams["kind"], float(hparams["layer_ms"]), float(hparams["megabytes"])
        )
        self.weights = [weight for weight, _ in self._layers]

    def __call__(self, features: Any, *_: Any) -> tf.Tensor:
        """Returns a number for each example."""
        return run(self._layers, tf.reduce_mean(features)) * tf.ones([1, 1])

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the mean of the outputs."""
        return tf.reduce_mean(outputs)


def create(kind: str, layer_ms: float, megabytes: float) -> list[tuple[Any, Any]]:
    """Returns variables, and the functions that apply them."""
    wait = backward.waiting(kind, layer_ms)
    size = backward.layer_size(megabytes)

    def layer(number: int) -> tuple[tf.Variable, Any]:
        @tf.custom_gradient
        def apply(x: tf.Tensor, weight: tf.Tensor) -> Any:
            def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                waited = tf.numpy_function(wait, [dy], tf.float32)
                waited.set_shape(())
                return waited, tf.fill([size], waited * 1e-6)

            return x + 0.0, gradient

        return tf.Variable(tf.zeros([size]), name=f"weights{number}"), apply

    return [layer(number) for number in range(backward.LAYERS)]


def run(layers: list[tuple[Any, Any]], x: tf.Tensor) -> tf.Tensor:
    """Applies layers one after the other to a scalar."""
    for weight, apply in layers:
        x = apply(x, weight)
    return x
