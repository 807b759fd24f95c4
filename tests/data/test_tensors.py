"""Splits as tensors."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from distmnist.data import tensors
from distmnist.data.dataset import Split


def test_tensors_hold_the_arrays() -> None:
    split = Split(np.array([[0, 255], [51, 1]], np.uint8), np.array([1, 0], np.int32))
    (name, converted), *rest = tensors.to_tensors({"test": split}).items()
    assert (name, rest, converted.size) == ("test", [], 2)
    assert converted.features.dtype == tf.uint8
    assert converted.targets.dtype == tf.int32
    np.testing.assert_array_equal(converted.features.numpy(), split.features)
    np.testing.assert_array_equal(converted.targets.numpy(), split.targets)


def test_scaled_features_are_in_the_unit_interval() -> None:
    scaled = tensors.scale(tf.range(256, dtype=tf.int32))
    assert scaled.dtype == tf.float32
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(scaled.numpy(), expected)
    assert (scaled.numpy().min(), scaled.numpy().max()) == (0, 1)
