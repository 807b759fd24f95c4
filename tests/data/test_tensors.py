"""Splits as tensors."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from distmnist.data import tensors
from distmnist.data.dataset import Split
from distmnist.data.spec import DatasetSpec


def test_tensors_hold_the_arrays() -> None:
    split = Split(np.array([[0, 255], [51, 1]], np.uint8), np.array([1, 0], np.int32))
    (name, converted), *rest = tensors.to_tensors({"test": split}).items()
    assert (name, rest, converted.size) == ("test", [], 2)
    assert converted.features.dtype == tf.uint8
    assert converted.targets.dtype == tf.int32
    np.testing.assert_array_equal(converted.features.numpy(), split.features)
    np.testing.assert_array_equal(converted.targets.numpy(), split.targets)


def test_bytes_are_scaled_to_the_unit_interval() -> None:
    raw = tf.constant(np.arange(256, dtype=np.uint8)[:, None])
    scaled = tensors.normalize(raw, DatasetSpec((1,), 2))[:, 0]
    assert scaled.dtype == tf.float32
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(scaled.numpy(), expected)
    assert (scaled.numpy().min(), scaled.numpy().max()) == (0, 1)


def test_numbers_are_normalized_one_by_one() -> None:
    spec = DatasetSpec(
        (1, 2),
        feature_dtype="float32",
        feature_mean=(1.0, 10.0),
        feature_std=(2.0, 5.0),
        target_shape=(2,),
        target_mean=(1.0, 3.0),
        target_std=(0.5, 1.0),
    )
    values = tf.constant([[[3.0, 0.0]], [[1.0, 15.0]]])
    np.testing.assert_array_equal(
        tensors.normalize(values, spec), [[[1, -2]], [[0, 1]]]
    )
    targets = tf.constant([[2.0, 4.0]])
    normalized = tensors.normalize_targets(targets, spec)
    np.testing.assert_array_equal(normalized, [[2, 1]])
    np.testing.assert_array_equal(tensors.restore_targets(normalized, spec), targets)


def test_identifiers_and_labels_stay_as_they_are() -> None:
    spec = DatasetSpec((2,), 3, feature_dtype="int32", feature_mean=1.0)
    tokens, labels = tf.constant([[4, 1]]), tf.constant([2])
    assert tensors.normalize(tokens, spec) is tokens
    assert tensors.normalize_targets(labels, spec) is labels
    assert tensors.restore_targets(labels, spec) is labels
