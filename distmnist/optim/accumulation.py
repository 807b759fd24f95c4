"""Gradient accumulation: the loss of several batches, at the memory of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from distmnist.optim.gradients import dense


def accumulated_loss(
    loss_of: Callable[[tf.Tensor], tf.Tensor],
    passes: int,
    variables: Sequence[tf.Variable],
) -> tf.Tensor:
    """Returns the mean loss of several batches, at the memory of one.

    Its gradients are computed batch by batch, together with it; they differ from those
    of all batches in one by rounding only.

    Args:
        loss_of: returns the loss of one batch, by its index, int64 scalar.
        passes: number of batches.
        variables: what the loss is differentiated by.
    """

    @tf.custom_gradient
    def mean_loss() -> tuple[tf.Tensor, Callable[..., Any]]:
        total = tf.constant(0.0)
        sums = [tf.zeros_like(variable) for variable in variables]
        for index in tf.range(tf.constant(passes, tf.int64)):
            with tf.GradientTape() as tape:
                loss = loss_of(index)
            total += loss
            parts = dense(tape.gradient(loss, variables), variables)
            sums = [s + part for s, part in zip(sums, parts)]
        means = {v.ref(): s / passes for v, s in zip(variables, sums)}

        def gradients(dy: tf.Tensor, variables: Sequence[tf.Variable]) -> Any:
            return [], [dy * means[variable.ref()] for variable in variables]

        return total / passes, gradients

    return mean_loss()
