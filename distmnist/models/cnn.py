"""The convolutional network of Horovod's MNIST example.

28x28 pixels -> 5x5 convolution, 32 channels -> 2x2 maximum -> 5x5 convolution, 64
channels -> 2x2 maximum -> 1024 units, half of them dropped in training -> 10 classes,
with ReLU.
"""

from __future__ import annotations

import math

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.idx import IMAGE_SIZE, NUM_CLASSES
from distmnist.models import mixed_precision
from distmnist.models.dropout import dropout
from distmnist.models.model import Network, create_layer

_DROPOUT = 0.5
_SHAPES = {
    "conv1": (5, 5, 1, 32),
    "conv2": (5, 5, 32, 64),
    "dense": ((IMAGE_SIZE // 4) ** 2 * 64, 1024),
    "softmax_linear": (1024, NUM_CLASSES),
}
# Places that the weights of a layer are applied at.
_PLACES = {"conv1": IMAGE_SIZE**2, "conv2": (IMAGE_SIZE // 2) ** 2}


class Cnn(Network):
    """Two convolutions and two fully connected layers."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.layers = {
            name: create_layer(name, shape, (config.seed, index))
            for index, (name, shape) in enumerate(_SHAPES.items())
        }
        self._seed = config.seed
        self._dtype = tf.as_dtype(config.compute_dtype)

    def __call__(
        self, images: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits: see `Network`."""
        training = position is not None
        into, out_of = mixed_precision.casts(self._dtype if training else tf.float32)
        units = into(tf.reshape(images, [-1, IMAGE_SIZE, IMAGE_SIZE, 1]))
        for name in ("conv1", "conv2"):
            weights, biases = self.layers[name]
            with tf.name_scope(name):
                units = tf.nn.conv2d(units, into(weights), strides=1, padding="SAME")
                units = tf.nn.relu(units + into(biases))
                units = tf.nn.max_pool2d(units, 2, strides=2, padding="VALID")
        weights, biases = self.layers["dense"]
        with tf.name_scope("dense"):
            units = tf.reshape(units, [-1, weights.shape[0]])
            units = tf.nn.relu(tf.matmul(units, into(weights)) + into(biases))
            if training:
                units = dropout(units, _DROPOUT, self._seed, position)
        weights, biases = self.layers["softmax_linear"]
        with tf.name_scope("softmax_linear"):
            return out_of(tf.matmul(units, into(weights)) + into(biases))

    @classmethod
    def step_flops(cls, config: Config) -> float:
        """Returns the floating-point operations of one step, as `Mlp` counts them."""
        products = sum(
            math.prod(shape) * _PLACES.get(name, 1) for name, shape in _SHAPES.items()
        )
        return 6.0 * products * config.batch_size
