"""LARS: a learning rate for each layer, for large batches."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from distmnist.core.config import Config


def lars(config: Config) -> Lars:
    """Returns the optimizer of --optimizer=lars."""
    return Lars(momentum=config.momentum, weight_decay=config.weight_decay)


class Lars(keras.Optimizer):  # type: ignore[misc]
    """SGD whose learning rate for each variable is in proportion to its norm.

    You, Gitman and Ginsburg 2017, "Large Batch Training of Convolutional Networks"
    (arXiv:1708.03888), algorithm 1: with gradient g, weights w, momentum m, weight
    decay b, learning rate r and trust coefficient t,

        local = t * |w| / (|g| + b * |w|)
        v = m * v + r * local * (g + b * w)
        w = w - v

    Where a norm is zero, local is 1. Variables that weight decay leaves out (biases,
    and those of normalization layers) are not scaled either, as is usual.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        name: str = "lars",
    ):
        """Creates no variables yet.

        Args:
            learning_rate: r, of all variables.
            momentum: m, in [0, 1).
            weight_decay: b, at least 0.
            trust_coefficient: t, positive.
            name: of the optimizer.
        """
        super().__init__(learning_rate=learning_rate, name=name)
        self._momentum = momentum
        self._decay = weight_decay  # not Keras' own, which is apart from the gradient
        self._trust = trust_coefficient

    def build(self, variables: list[Any]) -> None:
        """Creates the velocities, v."""
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        velocity = self._velocities[self._get_variable_index(variable)]
        value = tf.convert_to_tensor(variable)
        rate = tf.cast(learning_rate, value.dtype)
        if self._use_weight_decay(variable):
            norm, gradient_norm = tf.norm(value), tf.norm(gradient)
            local = self._trust * norm / (gradient_norm + self._decay * norm)
            both = tf.logical_and(norm > 0, gradient_norm > 0)
            rate *= tf.where(both, local, 1.0)
            gradient += self._decay * value
        self.assign(velocity, self._momentum * velocity + rate * gradient)
        self.assign_sub(variable, velocity)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "momentum": self._momentum,
            "weight_decay": self._decay,
            "trust_coefficient": self._trust,
        }
