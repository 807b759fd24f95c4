"""Gradients as dense tensors, those of sparse and of unused variables too."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from absl import logging


def dense(
    gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
    variables: Sequence[tf.Variable],
) -> list[tf.Tensor]:
    """Returns gradients as tensors of the variables' shapes.

    The gradient of an embedding is sparse; it is added up, so that momentum and the
    average over ranks are the same as for any other variable. A variable that the loss
    does not depend on has a gradient of zero.

    Args:
        gradients: gradient of each variable; None: the loss does not depend on it.
        variables: the variables.
    """
    return [
        tf.zeros(variable.shape, variable.dtype)
        if gradient is None
        else tf.convert_to_tensor(gradient)
        for gradient, variable in zip(gradients, variables)
    ]


def warn_of_unused(
    gradients: Sequence[tf.Tensor | tf.IndexedSlices | None], names: Sequence[str]
) -> None:
    """Logs the names of the variables that the loss does not depend on, if any."""
    unused = [name for name, gradient in zip(names, gradients) if gradient is None]
    if unused:
        logging.warning(
            "The loss does not depend on %s, which will not change: use it in the "
            "network, or remove it",
            ", ".join(unused),
        )
