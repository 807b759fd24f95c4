"""Checkpoints: save, find, restore; rank 0 reads and writes.

A checkpoint is one of TensorFlow's: `<log_dir>/model.ckpt-<completed steps>` with
`.index` and `.data-*`, readable with `tf.train.load_checkpoint`.  Beside the
variables it holds `metadata`, a JSON object that says which run it is of and how
far that was.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from distmnist import model
from distmnist.cluster import Cluster
from distmnist.config import Config
from distmnist.datasets import Dataset
from distmnist.errors import InputError, RunError
from distmnist.periodic import Progress
from distmnist.summaries import EVENTS_PREFIX, METRICS_FILE

_PREFIX = "model.ckpt-"

# What TensorFlow raises on files that are not what they should be.
_UNREADABLE = (
    tf.errors.OpError,
    RuntimeError,
    ValueError,
    LookupError,
    AssertionError,
    OSError,
)


def prepare_directory(log_dir: str, restart: bool) -> None:
    """Makes the directory of a run ready to be written to.

    Args:
        log_dir: the directory; created where it is missing.
        restart: move the run that is there into a new directory within it.

    Raises:
        InputError: it can't be created, or not be written to.
    """
    directory = Path(log_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
        if restart:
            _set_aside(directory)
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: can't be written to ({error.strerror}); "
            "choose another directory"
        ) from None


def _set_aside(directory: Path) -> None:
    """Moves the files of a run into a new directory beside them."""
    prefixes = (_PREFIX, METRICS_FILE, EVENTS_PREFIX)
    files = [path for path in directory.iterdir() if path.name.startswith(prefixes)]
    if not files:
        return
    # Within the directory, not beside it: it may be a mounted volume.
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    for path in files:
        path.rename(aside / path.name)
    logging.info("--restart: the run in %s was moved to %s", directory, aside)


class Saver:
    """Saves a run, and continues it; all ranks call its methods."""

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        dataset: Dataset,
        parameters: model.Parameters,
    ):
        """Reads and writes nothing yet.

        Args:
            config: of the run.
            cluster: of the run.
            dataset: of the run.
            parameters: what is saved and restored.
        """
        self._log_dir = config.log_dir
        self._restart = config.restart
        self._cluster = cluster
        self._parameters = parameters
        self._metadata = {
            "config": dataclasses.asdict(config),
            "dataset": {
                "name": dataset.name,
                "source": dataset.source,
                "fingerprint": dataset.fingerprint,
            },
            "size": cluster.size,
        }

    def __call__(self, progress: Progress) -> None:
        """Saves a checkpoint.

        Raises:
            RunError: on rank 0, if it can't be written; nothing of it is left.
        """
        if self._cluster.rank == 0:
            path = os.path.join(self._log_dir, f"{_PREFIX}{progress.step}")
            how_far = {"step": progress.step, "consumed": progress.consumed}
            write(path, self._parameters, {**self._metadata, **how_far})

    def restore(self) -> Progress | None:
        """Makes the log directory ready, and restores its newest checkpoint.

        Returns:
            How far that was, on all ranks, while rank 0 alone has its variables;
            None if there is no checkpoint.

        Raises:
            InputError: on all ranks, if the directory can't be written to, or the
                checkpoint can't be read, or is of another run.
        """
        return self._cluster.broadcast(
            self._cluster.together(
                lambda: self._restore() if self._cluster.rank == 0 else None
            )
        )

    def _restore(self) -> Progress | None:
        prepare_directory(self._log_dir, self._restart)
        path = latest(self._log_dir)
        if path is None:
            return None
        metadata = read_metadata(path)
        _check_same_run(path, self._metadata, metadata)
        read(path, self._parameters)
        logging.info("Continuing from checkpoint %s", path)
        return Progress(metadata["step"], metadata["consumed"])


def latest(log_dir: str) -> str | None:
    """Returns the path of the newest checkpoint, without suffix, if any."""
    steps = [
        int(match[1])
        for name in os.listdir(log_dir)
        if (match := re.fullmatch(rf"{re.escape(_PREFIX)}(\d+)\.index", name))
    ]
    return os.path.join(log_dir, f"{_PREFIX}{max(steps)}") if steps else None


def write(
    path: str, parameters: model.Parameters, metadata: Mapping[str, object]
) -> None:
    """Writes a checkpoint.

    Args:
        path: without suffix.
        parameters: variables of the network.
        metadata: what `read_metadata` will return, of JSON's types.

    Raises:
        RunError: it can't be written; nothing of it is left.
    """
    try:
        _trackable(parameters, json.dumps(metadata)).write(path)
    except (tf.errors.OpError, OSError) as error:
        for leftover in glob.glob(f"{glob.escape(path)}[._]*"):
            shutil.rmtree(leftover) if os.path.isdir(leftover) else os.remove(leftover)
        raise RunError(
            f"checkpoint {path}: can't be written ({_reason(error)}); the ones before "
            "it are kept: make room, and start again with the same flags"
        ) from None


def read_metadata(path: str) -> dict[str, Any]:
    """Returns the metadata of a checkpoint.

    Args:
        path: without suffix.

    Raises:
        InputError: it can't be read.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        return dict(
            json.loads(reader.get_tensor("metadata/.ATTRIBUTES/VARIABLE_VALUE"))
        )
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def read(path: str, parameters: model.Parameters) -> None:
    """Gives the variables of a network the values of a checkpoint.

    Args:
        path: without suffix.
        parameters: variables of the same network.

    Raises:
        InputError: it can't be read.
    """
    try:
        _trackable(parameters, "").read(path).assert_consumed()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _trackable(parameters: model.Parameters, metadata: str) -> Any:
    """Returns what TensorFlow writes and reads, under the names of the scopes."""
    layers = {
        scope: tf.train.Checkpoint(**layer._asdict())
        for scope, layer in zip(model.SCOPES, parameters)
    }
    return tf.train.Checkpoint(metadata=tf.Variable(metadata), **layers)


def _check_same_run(
    path: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    """Raises InputError if a checkpoint's metadata are of another run."""
    for kind, name, shown in (
        ("config", "hidden1", "--hidden1"),
        ("config", "hidden2", "--hidden2"),
        ("config", "seed", "--seed"),
        ("dataset", "fingerprint", "the data set's SHA-256"),
    ):
        here, there = mine[kind][name], theirs[kind][name]
        if here != there:
            raise InputError(
                f"checkpoint {path} is of another run: {shown} is {there} there, "
                f"{here} here; give another --log_dir, or --restart to begin anew"
            )


def _reason(error: Exception) -> str:
    """Returns what went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(
        f"checkpoint {path} can't be read ({_reason(error)}); move its files away to "
        "continue from the one before it, or give --restart to begin anew"
    )
