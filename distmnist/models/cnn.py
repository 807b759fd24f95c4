"""--model=cnn: the convolutional network of Horovod's MNIST example.

5x5 convolution, 32 channels -> 2x2 max pooling -> 5x5 convolution, 64 channels -> 2x2
max pooling -> 1024 units with a dropout of one half -> classes, with ReLU.
"""

from __future__ import annotations

import math

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec
from distmnist.models import mixed_precision
from distmnist.models.dropout import dropout
from distmnist.models.layers import create_layer
from distmnist.models.network import Network

_DROPOUT = 0.5
_KERNEL = 5  # height and width of the convolutions
_POOLING = 2  # height, width and stride of each pooling
_CHANNELS = (32, 64)
_UNITS = 1024


class Cnn(Network):
    """Two convolutions and two fully connected layers, for images of any size.

    The images must be at least 4x4, so that one pixel is left after pooling.
    """

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.layers = {
            name: create_layer(name, shape, (config.seed, index))
            for index, (name, shape) in enumerate(_shapes(spec).items())
        }
        self._seed = config.seed
        self._dtype = tf.as_dtype(config.compute_dtype)

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits; see `Network`."""
        training = position is not None
        into, out_of = mixed_precision.casts(self._dtype if training else tf.float32)
        units = into(features)
        for name in ("conv1", "conv2"):
            weights, biases = self.layers[name]
            with tf.name_scope(name):
                units = tf.nn.conv2d(units, into(weights), strides=1, padding="SAME")
                units = tf.nn.relu(units + into(biases))
                units = tf.nn.max_pool2d(units, _POOLING, _POOLING, padding="VALID")
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
    def step_flops(cls, config: Config, spec: DatasetSpec) -> float:
        """Returns the floating-point operations of one step, counted as for `Mlp`."""
        shapes = _shapes(spec)
        height, width, _ = spec.feature_shape
        # Number of pixels that a convolution is applied to; 1 for the other layers.
        applications = {
            "conv1": height * width,
            "conv2": (height // _POOLING) * (width // _POOLING),
        }
        products = sum(
            math.prod(shape) * applications.get(name, 1)
            for name, shape in shapes.items()
        )
        return 6.0 * products * config.batch_size


def _shapes(spec: DatasetSpec) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each layer's weights.

    Raises:
        InputError: the examples are not images, or too small.
    """
    shape = spec.feature_shape
    pooled = [size // _POOLING**2 for size in shape[:2]]
    if len(shape) != 3 or min(pooled) < 1:
        raise InputError(
            "flag --model=cnn: needs images of at least 4x4 pixels, but the examples "
            f"have the shape {'x'.join(map(str, shape))}; use --model=mlp"
        )
    first, second = _CHANNELS
    return {
        "conv1": (_KERNEL, _KERNEL, shape[2], first),
        "conv2": (_KERNEL, _KERNEL, first, second),
        "dense": (math.prod(pooled) * second, _UNITS),
        "softmax_linear": (_UNITS, spec.num_classes or math.prod(spec.target_shape)),
    }
