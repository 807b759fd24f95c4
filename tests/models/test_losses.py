"""The loss, and the counts of an evaluation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from distmnist.models import losses


def test_loss_is_the_mean_cross_entropy() -> None:
    logits = np.array([[1.0, 2.0, 0.5] + [0.0] * 7, [0.0] * 10], np.float32)
    labels = np.array([1, 3], np.int32)
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[[0, 1], labels]).mean()
    loss = losses.loss(tf.constant(logits), tf.constant(labels)).numpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_evaluation_counts_correct_predictions() -> None:
    logits = tf.one_hot([3, 1, 4], 10)
    assert losses.evaluation(logits, tf.constant([3, 2, 4])).numpy() == 2


def test_confusion_counts_predictions_by_label() -> None:
    logits = tf.one_hot([2, 1, 2, 2], 3)
    confusion = losses.confusion(logits, tf.constant([2, 0, 1, 2]), 3).numpy()
    assert confusion.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 2]]


def test_logits_that_are_not_finite_are_wrong_and_in_no_cell() -> None:
    logits = tf.constant([[float("nan")] * 10, [0.0] * 9 + [1.0]])
    labels = tf.constant([0, 9])
    assert losses.evaluation(logits, labels).numpy() == 1
    confusion = losses.confusion(logits, labels, 10).numpy()
    assert (confusion.sum(), confusion[9, 9]) == (1, 1)


def test_smoothed_labels_are_those_of_keras() -> None:
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(7, 5)), tf.float32)
    labels = tf.constant(random.integers(0, 5, 7), tf.int32)
    keras_loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2
    )
    expected = float(keras_loss(tf.one_hot(labels, 5), logits))
    found = float(losses.smoothed_loss(logits, labels, 0.2))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found != pytest.approx(float(losses.loss(logits, labels)), rel=1e-3)
