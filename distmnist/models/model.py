"""What a network is, and the one of *TensorFlow Mechanics 101*.

784 pixels -> hidden1 -> hidden2 -> 10 classes, with ReLU.  The functions keep
the names and the meaning that they have in the tutorial's mnist.py; its fourth,
`training`, is in optimizer.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.idx import IMAGE_SIZE, NUM_CLASSES
from distmnist.models import mixed_precision

IMAGE_PIXELS = IMAGE_SIZE * IMAGE_SIZE


class Network(tf.Module):  # type: ignore[misc]
    """Maps images to logits.  Subclass it to bring your own: see README.md.

    Its variables are attributes, in lists and dictionaries too, and each has a name
    of its own.  Their initial values depend on the configuration alone.
    """

    def __init__(self, config: Config):
        """Creates the variables.

        Args:
            config: of the run: the seed, the sizes of layers, the type to compute in.
        """
        super().__init__()

    def __call__(
        self, images: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits.

        Args:
            images: float32 [batch, 784], in [0, 1].
            position: in training, how many examples all ranks together have taken
                before the first of the batch, int64 scalar; the others follow it.
                What is random is to depend on that and the seed alone, as
                `dropout.dropout` does, so that N ranks compute what one does.
                Else None.

        Returns:
            Logits, float32 [batch, 10].
        """
        raise NotImplementedError

    @classmethod
    def step_flops(cls, config: Config) -> float:
        """Returns the floating-point operations of one step, to choose threads by.

        Unless a network says otherwise, its steps are enough work for all cores.
        """
        return math.inf

    @property
    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by name, in a fixed order.

        Raises:
            InputError: two have the same name.
        """
        named: dict[str, tf.Variable] = {}
        for variable in self.variables:
            name = variable.name.partition(":")[0]
            if name in named:
                raise InputError(
                    f"network {type(self).__name__}: two variables are named {name}; "
                    "give each a name of its own, as in tf.Variable(…, name=…)"
                )
            named[name] = variable
        return named


class Layer(NamedTuple):
    """Variables of one layer.

    Attributes:
        weights: float32, [inputs, units] where it is fully connected.
        biases: float32 [units].
    """

    weights: tf.Variable
    biases: tf.Variable


def create_layer(name: str, shape: Sequence[int], seed: tuple[int, int]) -> Layer:
    """Creates the variables of a layer.

    Weights are truncated-normal with a standard deviation of 1/sqrt(fan-in),
    biases are zero.

    Args:
        name: scope of their names.
        shape: of the weights; the last dimension is that of the units.
        seed: that of the run, and the index of the layer: one stream a layer.
    """
    stddev = 1.0 / math.sqrt(math.prod(shape[:-1]))
    weights = tf.random.stateless_truncated_normal(shape, seed=seed, stddev=stddev)
    return Layer(
        tf.Variable(weights, name=f"{name}/weights"),
        tf.Variable(tf.zeros(shape[-1]), name=f"{name}/biases"),
    )


class Mlp(Network):
    """The tutorial's network."""

    SCOPES = ("hidden1", "hidden2", "softmax_linear")

    def __init__(self, config: Config):
        super().__init__(config)
        sizes = (IMAGE_PIXELS, config.hidden1, config.hidden2, NUM_CLASSES)
        self.layers = tuple(
            create_layer(scope, sizes[index : index + 2], (config.seed, index))
            for index, scope in enumerate(self.SCOPES)
        )
        self._dtype = tf.as_dtype(config.compute_dtype)

    def __call__(
        self, images: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits: see `Network`."""
        return inference(
            images, self.layers, tf.float32 if position is None else self._dtype
        )

    @classmethod
    def step_flops(cls, config: Config) -> float:
        """Returns the floating-point operations of one step.

        Each weight takes a multiplication and an addition per example, in the forward
        pass and twice in the backward pass.
        """
        hidden1, hidden2 = config.hidden1, config.hidden2
        weights = IMAGE_PIXELS * hidden1 + hidden1 * hidden2 + hidden2 * NUM_CLASSES
        return 6.0 * weights * config.batch_size


def scale_pixels(images: tf.Tensor) -> tf.Tensor:
    """Maps pixels from uint8 in [0, 255] to float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def inference(
    images: tf.Tensor, layers: Sequence[Layer], dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Builds the tutorial's network up to its logits.

    Args:
        images: float32 [batch, 784], in [0, 1].
        layers: the variables.
        dtype: what is computed in; the parameters stay float32.

    Returns:
        Logits, float32 [batch, 10].
    """
    into, out_of = mixed_precision.casts(dtype)
    units = into(images)
    for scope, layer in zip(Mlp.SCOPES, layers):
        with tf.name_scope(scope):
            units = tf.matmul(units, into(layer.weights)) + into(layer.biases)
            if scope != Mlp.SCOPES[-1]:
                units = tf.nn.relu(units)
    return out_of(units)


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean softmax cross-entropy of a batch.

    Args:
        logits: float32 [batch, 10].
        labels: int32 [batch], in [0, 10).
    """
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how many examples have their label as the highest logit, int32.

    Args:
        logits: float32 [batch, 10].
        labels: int32 [batch], in [0, 10).
    """
    correct = tf.math.in_top_k(targets=labels, predictions=logits, k=1)
    return tf.reduce_sum(tf.cast(correct, tf.int32))


def confusion(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns how many of each label were taken for each class.

    Args:
        logits: float32 [batch, 10].
        labels: int32 [batch], in [0, 10).

    Returns:
        int32 [10, 10], by label and class.  Its trace is what `evaluation` returns; an
        example that counts as wrong because its logits are not finite is in no cell.
    """
    correct = tf.math.in_top_k(targets=labels, predictions=logits, k=1)
    highest = tf.argmax(logits, axis=1, output_type=tf.int32)
    cells = labels * NUM_CLASSES + tf.where(correct, labels, highest)
    nowhere = tf.math.logical_and(highest == labels, tf.math.logical_not(correct))
    cells = tf.where(nowhere, NUM_CLASSES**2, cells)
    counts = tf.math.bincount(cells, minlength=NUM_CLASSES**2 + 1, dtype=tf.int32)
    return tf.reshape(counts[:-1], [NUM_CLASSES, NUM_CLASSES])
