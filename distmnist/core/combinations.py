"""Combinations of options that cannot be meant: each is refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distmnist.core.errors import InputError
from distmnist.core.options import default_of
from distmnist.core.registry import OPTIMIZERS

if TYPE_CHECKING:
    from distmnist.core.config import Config

_WITH_MOMENTUM = ("sgd", "lars", "rmsprop")
_DECAY = ("lr_decay_steps", "lr_decay_epochs", "lr_min")
_OF_SCHEDULES = {
    "lr_decay_rate": ("step", "exponential"),
    "lr_drops": ("step",),
    "lr_power": ("polynomial",),
}


def check_combinations(config: Config) -> None:
    """Checks options that depend on each other.

    Raises:
        InputError: two do not go together.
    """
    optimizer = config.optimizer
    is_own = optimizer not in OPTIMIZERS
    _refuse(
        config.use_adasum and config.gradient_buckets,
        "flags --use_adasum and --gradient_buckets: give only one, as Adasum combines "
        "the gradient of each variable on its own",
    )
    _refuse(
        config.use_adasum and optimizer in ("lars", "lamb"),
        f"flags --use_adasum and --optimizer={optimizer}: give only one, as both "
        "decide how far each layer goes",
    )
    _refuse(
        config.momentum and not is_own and optimizer not in _WITH_MOMENTUM,
        f"flags --momentum and --optimizer={optimizer}: leave out --momentum, which "
        f"is of {', '.join(_WITH_MOMENTUM)}",
    )
    _refuse(
        config.nesterov and not (optimizer == "sgd" and config.momentum),
        "flag --nesterov: is for --optimizer=sgd with --momentum",
    )
    _refuse(
        config.weight_decay and optimizer == "adam",
        "flags --weight_decay and --optimizer=adam: give --optimizer=adamw",
    )
    _refuse(
        config.lr_decay_steps and config.lr_decay_epochs,
        "flags --lr_decay_steps and --lr_decay_epochs: give only one",
    )
    given = [name for name in _DECAY if getattr(config, name)]
    _refuse(
        given and config.lr_schedule == "constant",
        f"flag --{given[0] if given else ''}: give --lr_schedule, too; a constant "
        "learning rate does not decay",
    )
    for name, schedules in _OF_SCHEDULES.items():
        _refuse(
            _changed(config, name) and config.lr_schedule not in schedules,
            f"flag --{name}: is for --lr_schedule={' or '.join(schedules)}",
        )
    _refuse(
        config.lr_schedule == "step" and not config.lr_drops,
        "flag --lr_drops: must be given, as --lr_schedule=step has no other",
    )
    decays_on = _changed(config, "weight_decay_on")
    _refuse(
        decays_on and not (config.weight_decay or optimizer == "lars"),
        "flag --weight_decay_on: give --weight_decay, too",
    )
    _refuse(
        decays_on and is_own,
        f"flag --weight_decay_on: is not for --optimizer={optimizer}, which decides "
        "itself: see exclude_from_weight_decay of Keras",
    )
    _refuse(
        config.early_stopping_min_change and not config.early_stopping_patience,
        "flag --early_stopping_min_change: give --early_stopping_patience, too",
    )
    _refuse(
        config.lr_min > config.learning_rate,
        f"flag --lr_min={config.lr_min:g}: must be at most "
        f"--learning_rate={config.learning_rate:g}",
    )
    _refuse(
        config.early_stopping_patience and not config.eval_every,
        "flags --early_stopping_patience and --eval_every=0: give an interval of "
        "evaluations",
    )


def _changed(config: Config, name: str) -> bool:
    """Returns whether an option is not the default."""
    return bool(getattr(config, name) != default_of(config.__dataclass_fields__[name]))


def _refuse(condition: object, message: str) -> None:
    if condition:
        raise InputError(message)
