"""Mixed precision: gradients computed in smaller types."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.sources.mnist import SPEC
from distmnist.models import losses, mixed_precision, registry


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("mlp", tf.bfloat16, 0.1),
        ("mlp", tf.float16, 0.005),
        # Rounding can change which value is the maximum of a pooling.
        ("cnn", tf.bfloat16, 0.1),
        ("cnn", tf.float16, 0.05),
    ],
)
def test_gradients_are_those_of_float32(
    name: str, dtype: tf.DType, tolerance: float
) -> None:
    images = tf.random.stateless_uniform([20, 28, 28, 1], (1, 2))
    labels = tf.constant(np.arange(20) % 10, tf.int32)

    def gradients(dtype: tf.DType) -> list[tf.Tensor]:
        config = Config(
            model=name, hidden1=16, hidden2=8, seed=0, compute_dtype=dtype.name
        )
        network = registry.create(config, SPEC)
        with tf.GradientTape() as tape:
            logits = network(images, tf.constant(0, tf.int64))
            assert logits.dtype == tf.float32
            loss = losses.loss(logits, labels)
        return list(tape.gradient(loss, network.trainable_variables))

    for exact, rough in zip(gradients(tf.float32), gradients(dtype)):
        assert rough.dtype == tf.float32
        difference = float(tf.norm(exact - rough) / tf.norm(exact))
        assert 0 < difference < tolerance


def test_float16_keeps_small_gradients() -> None:
    into, out_of = mixed_precision.casts(tf.float16)
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = out_of(into(x) * 1.0) * 1e-8  # below float16's least positive value
    assert float(tape.gradient(y, x)) == pytest.approx(1e-8, rel=0.01)
