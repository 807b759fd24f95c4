"""The experiment trackers that there are, and what their processes are told."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from distmnist.core.errors import InputError
from distmnist.core.registry import Entry

TRACKERS: Mapping[str, Entry] = {
    "mlflow": Entry("distmnist.tracking.mlflow:MlflowTracker", "MLflow"),
    "wandb": Entry("distmnist.tracking.wandb:WandbTracker", "Weights & Biases"),
}

FINISHED = b"finished"
"""Comes on standard input at the end of a run that has reached its last step."""

LAST_SECONDS = {True: 30.0, False: 5.0}
"""How long metrics may be published after the end, by whether that has come."""


def check_installed(names: Sequence[str]) -> None:
    """Checks that the packages of trackers, which have their names, are installed.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"flag --trackers={name}: it is not installed; run pip install "
                f'"distmnist[{name}]", or leave it out'
            )
