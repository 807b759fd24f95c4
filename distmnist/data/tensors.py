"""Splits as tensors, and the scaling of their features."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from distmnist.data.dataset import Split


def to_tensors(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Copies splits to TensorFlow's default device, where they stay.

    Args:
        splits: splits by name, as arrays.

    Returns:
        The same splits by name, as tensors.
    """
    return {
        name: Split(tf.constant(split.features), tf.constant(split.targets))
        for name, split in splits.items()
    }


def scale(features: tf.Tensor) -> tf.Tensor:
    """Maps features from uint8 in [0, 255] to float32 in [0, 1]."""
    return tf.cast(features, tf.float32) / 255.0
