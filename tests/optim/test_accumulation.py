"""Gradient accumulation."""

from __future__ import annotations

import pytest
import tensorflow as tf

from distmnist.optim.accumulation import accumulated_loss


@pytest.mark.parametrize("in_loop", [None, 2])
def test_accumulated_loss_is_that_of_one_batch(in_loop: int | None) -> None:
    weight = tf.Variable(tf.random.stateless_normal([5, 1], (1, 2)))
    offset = tf.Variable([0.5])
    examples = tf.random.stateless_normal([12, 5], (3, 4))

    def loss_of(batch: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(tf.matmul(batch, weight) + offset))

    @tf.function
    def both() -> tuple[tf.Tensor, ...]:
        variables = [weight, offset]
        batches = tf.reshape(examples, [3, 4, 5])
        several = accumulated_loss(
            lambda index: loss_of(batches[index]), 3, variables, in_loop
        )
        one = loss_of(examples)
        return (
            *(several, one),
            *tf.gradients(2.0 * several, variables),
            *tf.gradients(2.0 * one, variables),
        )

    several, one, weight_several, offset_several, weight_one, offset_one = both()
    assert float(several) == pytest.approx(float(one), rel=1e-5)
    assert weight_several.numpy() == pytest.approx(weight_one.numpy(), rel=1e-5)
    assert offset_several.numpy() == pytest.approx(offset_one.numpy(), rel=1e-5)
