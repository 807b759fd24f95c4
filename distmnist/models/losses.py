"""Losses, and the sums and counts that evaluations are made of.

`loss` and `evaluation` have the names that they have in the tutorial's mnist.py.
"""

from __future__ import annotations

import tensorflow as tf


def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean softmax cross-entropy of a batch, float32 scalar.

    Args:
        logits: float32 [batch, ..., num_classes].
        labels: int32 [batch, ...], in [0, num_classes).
    """
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def smoothed_loss(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Returns the loss with smoothed labels (Szegedy et al. 2016, section 7).

    Args:
        logits: float32 [batch, ..., num_classes].
        labels: int32 [batch, ...], in [0, num_classes).
        smoothing: part of each label that is spread evenly over all classes, in [0, 1).

    Returns:
        The mean over the batch, float32 scalar.
    """
    uniform = -tf.reduce_mean(tf.nn.log_softmax(logits))
    return (1 - smoothing) * loss(logits, labels) + smoothing * uniform


def evaluation(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the number of examples whose label has the highest logit, int32 scalar.

    Args:
        logits: float32 [batch, num_classes].
        labels: int32 [batch], in [0, num_classes).
    """
    correct = tf.math.in_top_k(targets=labels, predictions=logits, k=1)
    return tf.reduce_sum(tf.cast(correct, tf.int32))


def mean_squared_error(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared error of a batch, float32 scalar.

    Args:
        outputs: float32 [batch, ...].
        targets: float32, of the same shape.
    """
    return tf.reduce_mean(tf.square(outputs - targets))


def regression_errors(
    outputs: tf.Tensor, targets: tf.Tensor
) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """Returns the sums of the absolute and the squared errors, and their number.

    Args:
        outputs: float32 [batch, ...].
        targets: float32, of the same shape.
    """
    errors = tf.cast(outputs, tf.float64) - tf.cast(targets, tf.float64)
    count = tf.size(errors, tf.int64)
    return {
        "mean_absolute_error": (tf.reduce_sum(tf.abs(errors)), count),
        "mean_squared_error": (tf.reduce_sum(tf.square(errors)), count),
    }


def confusion(logits: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns the confusion matrix of a batch.

    Args:
        logits: float32 [batch, num_classes].
        labels: int32 [batch], in [0, num_classes).
        num_classes: number of classes.

    Returns:
        int32 [num_classes, num_classes]: number of examples by label (row) and
        prediction (column). Its trace equals `evaluation`; an example that counts as
        wrong because its logits are not finite is not counted.
    """
    correct = tf.math.in_top_k(targets=labels, predictions=logits, k=1)
    highest = tf.argmax(logits, axis=1, output_type=tf.int32)
    cells = labels * num_classes + tf.where(correct, labels, highest)
    in_no_cell = tf.math.logical_and(highest == labels, tf.math.logical_not(correct))
    cells = tf.where(in_no_cell, num_classes**2, cells)
    counts = tf.math.bincount(cells, minlength=num_classes**2 + 1, dtype=tf.int32)
    return tf.reshape(counts[:-1], [num_classes, num_classes])
