"""Options of the optimizer and its learning rate; they are fields of `Config`."""

from __future__ import annotations

import dataclasses

from distmnist.core.options import option
from distmnist.core.registry import OPTIMIZERS, describe
from distmnist.core.rules import (
    FACTOR,
    FRACTIONS,
    NOT_NEGATIVE,
    PATTERN,
    POSITIVE,
    at_least,
    one_of,
    within,
)

LR_SCALINGS = ("linear", "sqrt", "none")
LR_SCHEDULES = ("constant", "step", "cosine", "linear", "polynomial", "exponential")

OPTIMIZER = "Optimizer and learning rate"
"""Heading of the help."""


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """How gradients change the parameters."""

    learning_rate: float = option(
        0.1,
        "Per-worker learning rate; see --lr_scaling. The default is for SGD: Adam and "
        "its kin take about 0.001.",
        OPTIMIZER,
        POSITIVE,
    )
    lr_scaling: str = option(
        "linear",
        "Scaling of the learning rate with N workers: times N (linear), times the "
        "square root of N (sqrt), or none.",
        OPTIMIZER,
        one_of(*LR_SCALINGS),
    )
    warmup_steps: int = option(
        0,
        "Linear warm-up steps, from the per-worker learning rate to the schedule's.",
        OPTIMIZER,
        at_least(0),
        unit="steps",
    )
    lr_schedule: str = option(
        "constant",
        "Learning rate schedule, from --learning_rate at the first step to --lr_min at "
        "the end of the decay; step and exponential multiply by --lr_decay_rate.",
        OPTIMIZER,
        one_of(*LR_SCHEDULES),
    )
    lr_decay_steps: int = option(
        0,
        "Steps in which the learning rate decays; 0: to the end of the run, and so by "
        "epochs with --num_epochs.",
        OPTIMIZER,
        at_least(0),
        unit="steps",
    )
    lr_decay_epochs: float = option(
        0.0,
        "Epochs in which the learning rate decays, instead of --lr_decay_steps: the "
        "same at any number of workers.",
        OPTIMIZER,
        NOT_NEGATIVE,
        unit="epochs",
    )
    lr_decay_rate: float = option(
        0.1,
        "Factor by which the learning rate is multiplied at each of --lr_drops (step), "
        "or over the whole decay (exponential).",
        OPTIMIZER,
        FACTOR,
    )
    lr_drops: tuple[float, ...] = option(
        (0.5, 0.75),
        "Fractions of the decay after which --lr_schedule=step drops.",
        OPTIMIZER,
        FRACTIONS,
    )
    lr_power: float = option(
        2.0, "Exponent of --lr_schedule=polynomial.", OPTIMIZER, POSITIVE
    )
    lr_min: float = option(
        0.0,
        "Least learning rate of a schedule, per worker and scaled as --learning_rate.",
        OPTIMIZER,
        NOT_NEGATIVE,
    )
    optimizer: str = option(
        "sgd",
        f"Optimizer. {describe(OPTIMIZERS)}; or your own, package.module:name: a "
        "function of config that returns a keras.Optimizer.",
        OPTIMIZER,
        required=True,
    )
    momentum: float = option(
        0.0,
        "Momentum of sgd, lars and rmsprop; 0: none.",
        OPTIMIZER,
        within(0, 1),
    )
    nesterov: bool = option(False, "Nesterov's momentum, for sgd.", OPTIMIZER)
    weight_decay: float = option(
        0.0,
        "Weight decay: added to the gradient, times the parameters (sgd, lars); apart "
        "from it, times the learning rate (others). Not for adam: that is adamw.",
        OPTIMIZER,
        NOT_NEGATIVE,
    )
    weight_decay_on: str = option(
        "auto",
        "Parameters that decay, and that lars scales: those of two or more dimensions "
        "(auto: no biases, no normalization), all, or a regular expression that their "
        "names contain.",
        OPTIMIZER,
        PATTERN,
    )
    clip_gradient_norm: float = option(
        0.0,
        "Largest norm of the gradient, averaged over all workers; 0: any.",
        OPTIMIZER,
        NOT_NEGATIVE,
    )
    ema_decay: float = option(
        0.0,
        "Decay of an exponential moving average of the parameters, which is then "
        "evaluated, exported and predicted with; 0: none.",
        OPTIMIZER,
        within(0, 1),
    )
