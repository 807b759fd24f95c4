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
    in_loop: int | None = None,
) -> tf.Tensor:
    """Returns the mean loss of several batches, at the memory of one.

    Its gradients are computed batch by batch, together with it; they differ from those
    of all batches in one by rounding only.

    Args:
        loss_of: returns the loss of one batch, by its index, int64 scalar.
        passes: number of batches.
        variables: what the loss is differentiated by.
        in_loop: how many of the batches are computed in one loop, which returns its
            gradients when it ends; those of later batches can be used one by one, as
            they are computed. None: all.
    """
    in_loop = passes if in_loop is None else in_loop

    @tf.custom_gradient
    def mean_loss() -> tuple[tf.Tensor, Callable[..., Any]]:
        def add(index: tf.Tensor, total: tf.Tensor, *sums: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(index)
            parts = dense(tape.gradient(loss, variables), variables)
            return index + 1, total + loss, *(s + p for s, p in zip(sums, parts))

        zeros = (tf.zeros_like(variable) for variable in variables)
        state = tf.while_loop(
            lambda index, *_: index < in_loop,
            add,
            (tf.constant(0, tf.int64), tf.constant(0.0), *zeros),
        )
        for _ in range(passes - in_loop):
            state = add(*state)
        _, total, *sums = state
        means = {v.ref(): s / passes for v, s in zip(variables, sums)}

        def gradients(dy: tf.Tensor, variables: Sequence[tf.Variable]) -> Any:
            return [], [dy * means[variable.ref()] for variable in variables]

        return total / passes, gradients

    return mean_loss()
