"""Splits as tensors, and how their values become what a network computes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core import arrays
from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.spec import DatasetSpec

# Examples per pass: enough to use all cores, few enough to stay in their caches.
_CHUNK = 1000
_CHUNK_BYTES = 32 << 20


def chunk_size(spec: DatasetSpec) -> int:
    """Returns how many examples an evaluation takes at a time."""
    return max(1, min(_CHUNK, _CHUNK_BYTES // spec.example_bytes))


def to_tensor(array: NDArray[Any]) -> tf.Tensor:
    """Returns an array as a tensor; it shares the memory of `core.arrays.empty`."""
    if not arrays.is_aligned(array):
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def to_tensors(
    splits: Mapping[str, Split | StreamedSplit],
) -> dict[str, Split | StreamedSplit]:
    """Copies splits to TensorFlow's default device, where they stay.

    Args:
        splits: splits by name, as arrays.

    Returns:
        The same splits by name, as tensors; streamed ones as they are.
    """
    return {
        name: Split(*map(tf.constant, split)) if isinstance(split, Split) else split
        for name, split in splits.items()
    }


def normalize(features: tf.Tensor, spec: DatasetSpec) -> tf.Tensor:
    """Maps features to what the network computes with.

    Args:
        features: in the spec's type and shape, [batch, *feature_shape].
        spec: their normalization.

    Returns:
        float32 [batch, *feature_shape], normalized; int32 features as they are.
    """
    if spec.feature_dtype == "int32":
        return features
    mean, std = (
        _constant(value, spec.feature_shape)
        for value in (spec.feature_mean, spec.feature_std)
    )
    return _normalize(tf.cast(features, tf.float32), mean, std)


def normalize_targets(targets: tf.Tensor, spec: DatasetSpec) -> tf.Tensor:
    """Maps targets to what the network is trained on: numbers are normalized.

    Args:
        targets: in the spec's type and shape, [batch, *target_shape].
        spec: their normalization.
    """
    if spec.num_classes is not None:
        return targets
    return _normalize(targets, *_target_constants(spec))


def restore_targets(outputs: tf.Tensor, spec: DatasetSpec) -> tf.Tensor:
    """Maps normalized numbers back to the units of the targets; logits as they are.

    Args:
        outputs: float32 [batch, *target_shape].
        spec: the normalization of the targets.
    """
    if spec.num_classes is not None or outputs.shape[1:] != spec.target_shape:
        return outputs
    mean, std = _target_constants(spec)
    return outputs * std + mean


def _target_constants(spec: DatasetSpec) -> tuple[object, object]:
    return (
        _constant(spec.target_mean, spec.target_shape),
        _constant(spec.target_std, spec.target_shape),
    )


def _constant(value: object, shape: tuple[int, ...]) -> object:
    if isinstance(value, tuple):
        return tf.reshape(tf.constant(value, tf.float32), shape)
    return value


def _normalize(values: tf.Tensor, mean: object, std: object) -> tf.Tensor:
    if not (isinstance(mean, float) and mean == 0.0):
        values = values - mean
    return values if isinstance(std, float) and std == 1.0 else values / std
