"""An exponential moving average of a network's parameters, to evaluate it with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import tensorflow as tf

PREFIX = "moving_average/"
"""Before the name of a variable, that of its average in a checkpoint."""


class MovingAverage:
    """Averages variables over the steps; Polyak and Juditsky 1992.

    Attributes:
        variables: the averages, by name.
    """

    def __init__(self, decay: float, variables: Mapping[str, tf.Variable]):
        """Begins with the variables' values.

        Args:
            decay: weight of the previous average in a step, in [0, 1); in the first
                steps less, (1 + n) / (10 + n) after n, as in TensorFlow's
                ExponentialMovingAverage. 0: nothing is averaged.
            variables: what is averaged, by name.
        """
        self._decay = decay
        self._averaged = list(variables.values()) if decay else []
        self.variables = {
            f"{PREFIX}{name}": tf.Variable(variable, trainable=False)
            for name, variable in variables.items()
            if decay
        }
        self._swap = tf.function(self._exchange, autograph=False)

    def update(self, step: tf.Tensor) -> None:
        """Follows the variables, in the graph.

        Args:
            step: completed steps, this one included; an integer scalar.
        """
        if not self._decay:
            return
        number = tf.cast(step, tf.float32)
        rest = 1 - tf.minimum(self._decay, (1 + number) / (10 + number))
        for average, variable in self._pairs():
            average.assign_add(rest * (variable - average))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Has the variables and their averages swap their values inside."""
        if not self._decay:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self) -> None:
        """Has the variables keep the values of their averages."""
        for average, variable in self._pairs():
            variable.assign(average)

    def _exchange(self) -> None:
        for average, variable in self._pairs():
            value = tf.identity(variable)
            variable.assign(average)
            average.assign(value)

    def _pairs(self) -> Iterator[tuple[tf.Variable, tf.Variable]]:
        return zip(self.variables.values(), self._averaged)
