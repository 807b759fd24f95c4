"""Options of the network and of its training; they are fields of `Config`."""

from __future__ import annotations

import dataclasses

from distmnist.core.hparams import HParams
from distmnist.core.options import option
from distmnist.core.registry import MODELS, describe
from distmnist.core.rules import POSITIVE, at_least, one_of, within

LR_SCALINGS = ("linear", "sqrt", "none")

TRAINING = "Network and training"
"""Heading of the help."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What is trained, and how."""

    learning_rate: float = option(
        0.1, "Per-worker learning rate; see --lr_scaling.", TRAINING, POSITIVE
    )
    lr_scaling: str = option(
        "linear",
        "Scaling of the learning rate with N workers: times N (linear), times the "
        "square root of N (sqrt), or none.",
        TRAINING,
        one_of(*LR_SCALINGS),
    )
    warmup_steps: int = option(
        0,
        "Linear warm-up steps, from the per-worker to the scaled learning rate.",
        TRAINING,
        at_least(0),
        unit="steps",
    )
    batch_size: int = option(
        100, "Per-worker batch size.", TRAINING, at_least(1), unit="examples"
    )
    max_steps: int = option(
        2000,
        "Optimizer steps, at any number of workers.",
        TRAINING,
        at_least(1),
        unit="steps",
    )
    num_epochs: float | None = option(
        None,
        "Passes over the training split, at any number of workers; replaces "
        "--max_steps. The last step uses a full batch, and may start another pass.",
        TRAINING,
        POSITIVE,
        unit="epochs",
    )
    momentum: float = option(
        0.0, "Momentum of SGD; 0: plain SGD.", TRAINING, within(0, 1)
    )
    model: str = option(
        "mlp",
        f"Network. {describe(MODELS)}; or your own, package.module:name: a Network, a "
        "Keras layer or model, or a function of (config, spec) that returns one.",
        TRAINING,
        required=True,
    )
    hparams: HParams = option(  # noqa: RUF009 (what cannot be changed)
        HParams(),
        "Hyperparameters of your own network, in its config.hparams: numbers, true, "
        "false, or text.",
        TRAINING,
    )
    hidden1: int = option(
        128, "Size of the mlp's hidden layer 1.", TRAINING, at_least(1), unit="units"
    )
    hidden2: int = option(
        32, "Size of the mlp's hidden layer 2.", TRAINING, at_least(1), unit="units"
    )
    seed: int = option(
        0,
        "Seed of the initial parameters and of the data order.",
        TRAINING,
        within(0, 2**32),
    )
