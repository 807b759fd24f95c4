"""Stochastic gradient descent, the tutorial's, and with momentum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from tensorflow.compat.v1 import train as v1

from distmnist.core.config import Config
from distmnist.optim.weight_decay import decayed


class Sgd:
    """The update rule of SGD; see `optimizer.UpdateRule`.

    Weight decay is added to the gradient, as in Goyal et al. 2017 and in PyTorch: with
    momentum it is not the same as that of AdamW, which is apart from the gradient.
    """

    def __init__(
        self,
        config: Config,
        variables: Mapping[str, tf.Variable],
        learning_rate: Callable[[], tf.Tensor],
    ):
        """Creates the slots.

        Args:
            config: momentum, and weight decay.
            variables: trainable variables by name.
            learning_rate: returns that of the next step.
        """
        self._variables = list(variables.values())
        self._decay = config.weight_decay
        self._decayed = decayed(config.weight_decay_on, variables)
        if config.momentum:
            self._sgd = v1.MomentumOptimizer(
                learning_rate, config.momentum, use_nesterov=config.nesterov
            )
        else:
            self._sgd = v1.GradientDescentOptimizer(learning_rate)
        # Otherwise the first step would create them, after a checkpoint is restored.
        self._sgd._create_slots(self._variables)
        self.slots = {
            f"{slot}/{name}": self._sgd.get_slot(variable, slot)
            for slot in self._sgd.get_slot_names()
            for name, variable in variables.items()
        }

    def resume(self, step: int) -> None:
        """Does nothing: SGD does not depend on the step."""

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Takes one step, in the graph; see `optimizer.UpdateRule`."""
        if self._decay:
            gradients = [
                gradient + self._decay * variable if is_decayed else gradient
                for gradient, variable, is_decayed in zip(
                    gradients, self._variables, self._decayed
                )
            ]
        self._sgd.apply_gradients(list(zip(gradients, self._variables)))
