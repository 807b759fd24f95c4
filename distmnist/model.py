"""The network of *TensorFlow Mechanics 101*, as pure functions.

784 pixels -> hidden1 -> hidden2 -> 10 classes, with ReLU.  The functions keep
the names and the meaning that they have in the tutorial's mnist.py; its fourth,
`training`, is in optimizer.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from distmnist import mixed_precision
from distmnist.idx import IMAGE_SIZE, NUM_CLASSES

IMAGE_PIXELS = IMAGE_SIZE * IMAGE_SIZE


class Layer(NamedTuple):
    """Variables of one fully connected layer.

    Attributes:
        weights: float32 [inputs, units].
        biases: float32 [units].
    """

    weights: tf.Variable
    biases: tf.Variable


Parameters = Sequence[Layer]

SCOPES = ("hidden1", "hidden2", "softmax_linear")


def create_parameters(hidden1: int, hidden2: int, seed: int) -> Parameters:
    """Creates the variables of the network.

    Weights are truncated-normal with a standard deviation of 1/sqrt(fan-in),
    biases are zero.  The values depend on the arguments alone.

    Args:
        hidden1: units of the first hidden layer.
        hidden2: units of the second hidden layer.
        seed: seed of the run.
    """
    sizes = (IMAGE_PIXELS, hidden1, hidden2, NUM_CLASSES)
    layers = []
    for index, scope in enumerate(SCOPES):
        shape = sizes[index : index + 2]
        # Seeds of stateless functions are pairs: one stream a layer.
        weights = tf.random.stateless_truncated_normal(
            shape, seed=(seed, index), stddev=1.0 / math.sqrt(shape[0])
        )
        layers.append(
            Layer(
                tf.Variable(weights, name=f"{scope}/weights"),
                tf.Variable(tf.zeros(shape[1]), name=f"{scope}/biases"),
            )
        )
    return tuple(layers)


def step_flops(hidden1: int, hidden2: int, batch_size: int) -> float:
    """Returns the floating-point operations of one step.

    Each weight takes a multiplication and an addition per example, in the forward
    pass and twice in the backward pass.
    """
    weights = IMAGE_PIXELS * hidden1 + hidden1 * hidden2 + hidden2 * NUM_CLASSES
    return 6.0 * weights * batch_size


def variables(parameters: Parameters) -> dict[str, tf.Variable]:
    """Returns all variables of the network by name, in a fixed order."""
    return {
        f"{scope}/{name}": variable
        for scope, layer in zip(SCOPES, parameters)
        for name, variable in layer._asdict().items()
    }


def scale_pixels(images: tf.Tensor) -> tf.Tensor:
    """Maps pixels from uint8 in [0, 255] to float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def inference(
    images: tf.Tensor, parameters: Parameters, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Builds the network up to its logits.

    Args:
        images: float32 [batch, 784], in [0, 1].
        parameters: the variables.
        dtype: what is computed in; the parameters stay float32.

    Returns:
        Logits, float32 [batch, 10].
    """
    into, out_of = mixed_precision.casts(dtype)
    units = into(images)
    for scope, layer in zip(SCOPES, parameters):
        with tf.name_scope(scope):
            units = tf.matmul(units, into(layer.weights)) + into(layer.biases)
            if scope != SCOPES[-1]:
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
