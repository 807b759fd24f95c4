"""Keras' optimizers, and those with their interface, as update rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from distmnist.core import registry, user_code
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.optim.weight_decay import decayed


def adagrad(config: Config) -> keras.Optimizer:
    """Adagrad (Duchi et al. 2011)."""
    return keras.optimizers.Adagrad(weight_decay=config.weight_decay or None)


def adam(config: Config) -> keras.Optimizer:
    """Adam (Kingma and Ba 2015)."""
    return keras.optimizers.Adam()


def adamw(config: Config) -> keras.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return keras.optimizers.AdamW(weight_decay=config.weight_decay)


def lamb(config: Config) -> keras.Optimizer:
    """LAMB (You et al. 2020); its weight decay is decoupled."""
    return keras.optimizers.Lamb(weight_decay=config.weight_decay or None)


def lion(config: Config) -> keras.Optimizer:
    """Lion (Chen et al. 2023)."""
    return keras.optimizers.Lion(weight_decay=config.weight_decay or None)


def rmsprop(config: Config) -> keras.Optimizer:
    """RMSprop (Tieleman and Hinton 2012)."""
    return keras.optimizers.RMSprop(
        momentum=config.momentum, weight_decay=config.weight_decay or None
    )


class KerasRule:
    """The update rule of an optimizer of Keras; see `optimizer.UpdateRule`.

    It is given gradients that are averaged already, and the project's learning rate.
    """

    def __init__(
        self,
        config: Config,
        variables: Mapping[str, tf.Variable],
        learning_rate: Callable[[], tf.Tensor],
    ):
        """Creates the optimizer and its slots.

        Args:
            config: its `optimizer` names a function of the configuration that returns a
                `keras.Optimizer`.
            variables: trainable variables by name.
            learning_rate: returns that of the next step.

        Raises:
            UserError: there is no such function, or what it returns cannot be used.
        """
        create = registry.load("optimizer", config.optimizer, registry.OPTIMIZERS)
        self._optimizer = _create(create, config)
        self._optimizer.learning_rate = learning_rate
        self._variables = list(variables.values())
        if config.optimizer in registry.OPTIMIZERS:
            is_decayed = decayed(config.weight_decay_on, variables)
            self._optimizer.exclude_from_weight_decay(
                var_list=[v for v, yes in zip(self._variables, is_decayed) if not yes]
            )
        try:
            with user_code.reported():
                self.slots = _build(self._optimizer, variables)
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"flag --optimizer={config.optimizer}: cannot be used with variables "
                f"of TensorFlow ({type(error).__name__}: {reason})"
            ) from error

    def resume(self, step: int) -> None:
        """Continues after so many steps, which corrections of bias depend on."""
        self._optimizer.iterations.assign(step)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Takes one step, in the graph; see `optimizer.UpdateRule`."""
        self._optimizer.apply(list(gradients), self._variables)


def _build(
    optimizer: keras.Optimizer, variables: Mapping[str, tf.Variable]
) -> dict[str, tf.Variable]:
    """Creates the variables of an optimizer, and returns them by name.

    Keras' own names of them depend on how many optimizers there were before.
    """
    names = {id(variable): name for name, variable in variables.items()}
    slots: dict[str, tf.Variable] = {}
    add = optimizer.add_variable_from_reference

    def add_named(reference_variable: Any, name: str = "var", **kwargs: Any) -> Any:
        slot = add(reference_variable, name=name, **kwargs)
        slots[f"{name}/{names[id(reference_variable)]}"] = slot.value
        return slot

    optimizer.add_variable_from_reference = add_named
    optimizer.build(list(variables.values()))
    named = {id(slot) for slot in slots.values()}
    others = [
        variable.value
        for variable in optimizer.variables
        if variable is not optimizer.iterations and id(variable.value) not in named
    ]
    slots.update((f"optimizer/{number}", other) for number, other in enumerate(others))
    return slots


def _create(create: Any, config: Config) -> keras.Optimizer:
    """Calls a function that returns an optimizer, and checks both."""
    flag = f"flag --optimizer={config.optimizer}"
    try:
        inspect.signature(create).bind(config)
    except (TypeError, ValueError) as error:  # the second, of some built-in ones
        raise InputError(
            f"{flag}: must be a function of the configuration ({error})"
        ) from None
    with user_code.reported():
        optimizer = create(config)
    _check(optimizer, flag)
    return optimizer


def _check(optimizer: Any, flag: str) -> None:
    """Raises InputError if an optimizer cannot be used."""
    if not isinstance(optimizer, keras.Optimizer):
        problem = f"returned a {type(optimizer).__name__}, not a keras.Optimizer"
    elif isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        problem = "scales the loss, which is not done here; return its inner optimizer"
    elif type(optimizer).update_step is keras.Optimizer.update_step:
        problem = f"returned a {type(optimizer).__name__}, which has no update_step"
    elif isinstance(optimizer.get_config().get("learning_rate"), dict):
        problem = (
            "has a learning rate schedule of its own; leave it out, and give "
            "--learning_rate and --lr_schedule"
        )
    elif optimizer.use_ema:
        problem = "has use_ema, which would not be evaluated; give --ema_decay"
    elif optimizer.gradient_accumulation_steps:
        problem = (
            "has gradient_accumulation_steps, which would send every batch; give "
            "--backward_passes_per_step"
        )
    else:
        return
    raise InputError(f"{flag}: {problem}")
