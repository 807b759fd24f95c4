"""The identity of a run: what must not change between a checkpoint and its resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from distmnist.checkpoint.metadata import Data, Metadata
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.options import default_of

# Options that decide what a network is and what it becomes.
_IDENTITY = (
    "model",
    "hparams",
    "momentum",
    "hidden1",
    "hidden2",
    "seed",
    "batch_norm",
)


def check(path: str, mine: Mapping[str, Any], theirs: Metadata) -> None:
    """Checks that a checkpoint is of the run that is to continue it.

    Args:
        path: of the checkpoint, for messages.
        mine: metadata of the run, as it would save them.
        theirs: metadata of the checkpoint.

    Raises:
        InputError: it was created with a different configuration, or data set.
    """
    defaults = {f.name: default_of(f) for f in dataclasses.fields(Config)}
    differences = [
        (f"--{name}", theirs.config.get(name, defaults[name]), mine["config"][name])
        for name in _IDENTITY
    ]
    data = msgspec.convert(mine["dataset"], Data)
    if data.fingerprint != theirs.dataset.fingerprint:
        differences.append(("the data set", _describe(theirs.dataset), _describe(data)))
    for name, there, here in differences:
        if here != there:
            raise InputError(
                f"checkpoint {path} was created with a different configuration: {name} "
                f"is {there} there, {here} here; give another --log_dir, or --restart "
                "to start from scratch"
            )


def _describe(dataset: Data) -> str:
    return f"{dataset.name} (SHA-256 {dataset.fingerprint[:16]})"
