"""Options of the network and of its training; they are fields of `Config`."""

from __future__ import annotations

import dataclasses

from distmnist.core.hparams import HParams
from distmnist.core.options import option
from distmnist.core.registry import MODELS, describe
from distmnist.core.rules import NOT_NEGATIVE, POSITIVE, at_least, within

TRAINING = "Network and training"
"""Heading of the help."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What is trained, and how."""

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
    label_smoothing: float = option(
        0.0,
        "Label smoothing of the training loss: this part of each label is spread over "
        "all classes (Szegedy et al. 2016). Evaluations have none.",
        TRAINING,
        within(0, 1),
    )
    early_stopping_patience: int = option(
        0,
        "End the run after so many evaluations in a row without improvement of "
        "--best_metric; 0: never.",
        TRAINING,
        at_least(0),
        unit="evaluations",
    )
    early_stopping_min_change: float = option(
        0.0,
        "Least change of --best_metric that is an improvement.",
        TRAINING,
        NOT_NEGATIVE,
    )
