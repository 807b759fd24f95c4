"""--model=mlp: the network of *TensorFlow Mechanics 101*.

Features -> hidden1 -> hidden2 -> classes, with ReLU. `inference` has the name and the
meaning that it has in the tutorial's mnist.py; of the other functions there, `loss` and
`evaluation` are in losses.py, and `training` is in `optim.optimizer`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.spec import DatasetSpec
from distmnist.models import mixed_precision
from distmnist.models.layers import Layer, create_layer
from distmnist.models.network import Network


class Mlp(Network):
    """Multilayer perceptron with two hidden layers, for features of any shape."""

    SCOPES = ("hidden1", "hidden2", "softmax_linear")

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        sizes = _sizes(config, spec)
        self.layers = tuple(
            create_layer(scope, sizes[index : index + 2], (config.seed, index))
            for index, scope in enumerate(self.SCOPES)
        )
        self._dtype = tf.as_dtype(config.compute_dtype)

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits; see `Network`."""
        return inference(
            tf.reshape(features, [-1, self.spec.num_features]),
            self.layers,
            tf.float32 if position is None else self._dtype,
        )

    @classmethod
    def step_flops(cls, config: Config, spec: DatasetSpec) -> float:
        """Returns the floating-point operations of one step; see `Network`.

        Each weight takes a multiplication and an addition per example, once in the
        forward pass and twice in the backward pass.
        """
        sizes = _sizes(config, spec)
        weights = sum(inputs * units for inputs, units in itertools.pairwise(sizes))
        return 6.0 * weights * config.batch_size


def inference(
    features: tf.Tensor, layers: Sequence[Layer], dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Computes the logits of the tutorial's network.

    Args:
        features: float32 [batch, num_features], in [0, 1].
        layers: variables of hidden1, hidden2 and softmax_linear.
        dtype: compute type; the parameters stay float32.

    Returns:
        Logits, float32 [batch, num_classes].
    """
    into, out_of = mixed_precision.casts(dtype)
    units = into(tf.cast(features, tf.float32))
    for scope, layer in zip(Mlp.SCOPES, layers):
        with tf.name_scope(scope):
            units = tf.matmul(units, into(layer.weights)) + into(layer.biases)
            if scope != Mlp.SCOPES[-1]:
                units = tf.nn.relu(units)
    return out_of(units)


def _sizes(config: Config, spec: DatasetSpec) -> tuple[int, ...]:
    """Returns the number of units from the input to the output."""
    return (
        spec.num_features,
        config.hidden1,
        config.hidden2,
        spec.num_classes or math.prod(spec.target_shape),
    )
