"""The identity of a run: what a checkpoint says of it, and what must not change."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from distmnist.checkpoint.metadata import Data, Metadata
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.options import default_of
from distmnist.data.dataset import Dataset
from distmnist.distributed.cluster import Cluster

# Options that decide what a network is and what it becomes.
_IDENTITY = (
    "model",
    "hparams",
    "optimizer",
    "momentum",
    "lr_schedule",
    "ema_decay",
    "hidden1",
    "hidden2",
    "seed",
    "shuffle_block",
    "batch_norm",
)

# Of them depends where a learning rate schedule ends.
_DECAY = ("lr_schedule", "lr_decay_steps", "lr_decay_epochs", "num_epochs", "max_steps")


def of_run(
    config: Config, cluster: Cluster, dataset: Dataset, own_network: bool
) -> dict[str, Any]:
    """Returns what the metadata of checkpoints say of a run; see `Metadata`.

    Args:
        config: run configuration.
        cluster: the ranks.
        dataset: data set of the run.
        own_network: whether the network is another than --model names.
    """
    return {
        "config": dataclasses.asdict(config),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
        },
        "spec": dataset.spec.to_json(),
        "size": cluster.size,
        "own_network": own_network,
        "directory": _working_directory(),
    }


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
    patience = "early_stopping_patience"
    if mine["config"][patience] and not theirs.config.get(patience):
        # Its state is missing; the other way round, it is not needed.
        differences.append((f"--{patience}", 0, mine["config"][patience]))
    there, here = (_decay(path, c) for c in (theirs.config, mine["config"]))
    differences.append(("the end of the learning rate's decay", there, here))
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


def _decay(path: str, values: Mapping[str, Any]) -> str:
    """Returns where a learning rate schedule ends, as the flag that says so.

    Args:
        path: of the checkpoint, for messages.
        values: fields of a configuration, not checked; some may be missing.

    Raises:
        InputError: one that it depends on is invalid.
    """
    try:
        config = Config(**{name: values[name] for name in _DECAY if name in values})
    except InputError as error:
        raise InputError(
            f"checkpoint {path}: its configuration is invalid ({error}); give another "
            "--log_dir"
        ) from None
    if config.lr_schedule == "constant":
        return ""
    length, unit = config.decay_length
    return f"--lr_decay_{unit}={length}"


def _describe(dataset: Data) -> str:
    return f"{dataset.name} (SHA-256 {dataset.fingerprint[:16]})"


def _working_directory() -> str:
    """Returns the working directory; "" if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""
