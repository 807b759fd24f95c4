"""Checkpoints: save, find, verify, restore; rank 0 reads and writes.

A checkpoint is one of TensorFlow's, `<log_dir>/model.ckpt-<completed steps>` with
`.data-*` and `.index`, readable with `tf.train.load_checkpoint`.  Beside the
variables, by name, it holds `metadata`, a JSON object that says which run it is of
and how far that was.  `.sha256` has the checksums of both files, as `sha256sum -c`
reads them.

It appears whole or not at all: the files are written under a hidden name, synced to
the disk, and renamed, the index last.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from numpy.typing import NDArray

from distmnist.checkpoint import rollback
from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.core.lock import DirectoryLock
from distmnist.core.progress import Progress, Ramp
from distmnist.data.datasets import Dataset
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.tensorboard import EVAL_DIRECTORY, EVENTS_PREFIX
from distmnist.metrics.types import Precision
from distmnist.metrics.writers import FLAGS_FILE, METRICS_FILE

BEST = "best"  # directory of the best checkpoint, in the log directory

_PREFIX = "model.ckpt-"
_INDEX, _SUMS, _DATA = ".index", ".sha256", ".data-00000-of-00001"
_SUFFIXES = (_DATA, _SUMS, _INDEX)  # in the order in which they appear
_NAME = re.compile(rf"{re.escape(_PREFIX)}(\d+)\.(index|sha256|data-.*)")
_METADATA = "metadata"

# What TensorFlow raises on files that are not what they should be.
_UNREADABLE = (
    tf.errors.OpError,
    RuntimeError,
    ValueError,
    LookupError,
    AssertionError,
    OSError,
)


def prepare_directory(log_dir: str, restart: bool) -> DirectoryLock:
    """Makes the directory of a run ready to be written to, and locks it.

    Args:
        log_dir: the directory; created where it is missing.
        restart: move the run that is there into a new directory within it.

    Returns:
        The lock, held.

    Raises:
        InputError: it can't be created, or not be written to, or another job has it.
    """
    directory = Path(log_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
        lock = DirectoryLock(directory)
        for leftover in directory.glob(f"**/.{_PREFIX}*"):  # of a save that was killed
            leftover.unlink()
        if restart:
            _set_aside(directory)
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: can't be written to ({error.strerror}); "
            "choose another directory"
        ) from None
    return lock


def _set_aside(directory: Path) -> None:
    """Moves the files of a run into a new directory beside them."""
    prefixes = (_PREFIX, METRICS_FILE, FLAGS_FILE, EVENTS_PREFIX)
    files = [
        path
        for path in directory.iterdir()
        if path.name.startswith(prefixes) or path.name in (BEST, EVAL_DIRECTORY)
    ]
    if not files:
        return
    # Within the directory, not beside it: it may be a mounted volume.
    prefix = time.strftime("%Y%m%d-%H%M%S-")
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    for path in files:
        path.rename(aside / path.name)
    logging.info("--restart: the run in %s was moved to %s", directory, aside)


class Saver:
    """Saves a run, and continues it; all ranks call its methods.

    Training goes on while a checkpoint is written: it waits only for a copy of the
    variables, and for the write before, so that one at most is under way.  As a
    context manager, it waits for the last one at the end, and lets go of the directory.
    """

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        dataset: Dataset,
        variables: Mapping[str, tf.Variable],
    ):
        """Reads and writes nothing yet.

        Args:
            config: of the run.
            cluster: of the run.
            dataset: of the run.
            variables: what is saved and restored, by name.
        """
        self._config = config
        self._cluster = cluster
        self._variables = variables
        self._metadata = {
            "config": dataclasses.asdict(config),
            "dataset": {
                "name": dataset.name,
                "source": dataset.source,
                "fingerprint": dataset.fingerprint,
            },
            "size": cluster.size,
        }
        self._best = -1  # correct validation examples
        self._saved = -1  # step of the newest checkpoint
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._under_way: concurrent.futures.Future[None] | None = None
        self._lock: DirectoryLock | None = None

    def __enter__(self) -> Saver:
        """Takes nothing yet: `restore` does."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Waits for the last checkpoint, and lets go of the log directory."""
        try:
            self.wait()
        except RunError as second:
            if error is None:
                raise
            logging.error("%s", second)  # the first is the one that is raised
        finally:
            self._thread.shutdown()
            if self._lock:
                self._lock.release()

    def save(self, progress: Progress) -> None:
        """Begins to write a checkpoint, unless this step has one.

        Raises:
            RunError: on rank 0, if this one or the one before can't be written;
                nothing of it is left.
        """
        if self._cluster.rank == 0 and progress.step != self._saved:
            self._begin(
                self._config.log_dir, progress, {}, self._config.keep_checkpoints
            )
            self._saved = progress.step

    def save_best(self, progress: Progress, validation: Precision) -> None:
        """Begins to write a checkpoint to `best`, if there is no better one.

        Args:
            progress: how far the run is.
            validation: precision of the validation split at this step.

        Raises:
            RunError: as `save` does.
        """
        if self._cluster.rank == 0 and validation.num_correct > self._best:
            self._best = validation.num_correct
            directory = os.path.join(self._config.log_dir, BEST)
            counts = {
                "num_examples": validation.num_examples,
                "num_correct": validation.num_correct,
            }
            self._begin(directory, progress, {"validation": counts}, 1)

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
            RunError: on rank 0, if it can't be.
        """
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def _begin(
        self, directory: str, progress: Progress, more: Mapping[str, object], keep: int
    ) -> None:
        self.wait()
        path = os.path.join(directory, f"{_PREFIX}{progress.step}")
        values = {name: np.array(v) for name, v in self._variables.items()}
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise RunError(
                    f"{name} is no longer finite at step {progress.step}, and is not "
                    "saved; the checkpoint before is good: continue from it with a "
                    "lower --learning_rate"
                )
        how_far = {
            "step": progress.step,
            "consumed": progress.consumed,
            "ramp": progress.ramp,
        }
        metadata = {**self._metadata, **how_far, **more}

        def write_and_prune() -> None:
            write(path, values, metadata)
            _prune(directory, progress.step, keep)

        self._under_way = self._thread.submit(write_and_prune)

    def restore(self, committed: Progress | None = None) -> Progress | None:
        """Makes the log directory ready, and restores its newest checkpoint.

        What the run told after that checkpoint is taken back: it will tell it again.

        Args:
            committed: how far the run is, where ranks have its variables in memory,
                and only the directory is to be made ready.

        Returns:
            How far that was, on all ranks, while rank 0 alone has its variables;
            None if there is no checkpoint.

        Raises:
            InputError: on all ranks, if the directory can't be written to or is in
                use, or no checkpoint can be read, or it is of another run.
        """
        return self._cluster.broadcast(
            self._cluster.together(
                lambda: self._restore(committed) if self._cluster.rank == 0 else None
            )
        )

    def _restore(self, committed: Progress | None) -> Progress | None:
        log_dir = self._config.log_dir
        restart = self._config.restart and not committed
        self._lock = prepare_directory(log_dir, restart)
        with contextlib.suppress(InputError):  # a damaged one is replaced
            if best := latest(os.path.join(log_dir, BEST)):
                self._best = read_metadata(best)["validation"]["num_correct"]
        if committed:
            rollback.rewind(log_dir, committed.step)
            return committed
        path = latest(log_dir)
        if path is None:
            rollback.rewind(log_dir, -1)
            return None
        metadata = read_metadata(path)
        _check_same_run(path, self._metadata, metadata)
        read(path, self._variables)
        self._saved = metadata["step"]
        rollback.rewind(log_dir, metadata["step"])
        logging.info("Continuing from checkpoint %s", path)
        same_size = metadata["size"] == self._cluster.size
        ramp = Ramp(*metadata["ramp"]) if metadata["ramp"] and same_size else None
        return Progress(metadata["step"], metadata["consumed"], ramp=ramp)


def latest(log_dir: str) -> str | None:
    """Returns the path of the newest whole checkpoint, without suffix, if any.

    Warns if a newer one is damaged.

    Raises:
        InputError: all are damaged.
    """
    damaged: list[str] = []
    for path in _newest_first(log_dir):
        problem = _damage(path)
        if not problem:
            if damaged:
                logging.warning("%s; using %s", "; ".join(damaged), path)
            return path
        damaged.append(f"checkpoint {path} is damaged ({problem})")
    if damaged:
        raise InputError(
            f"{'; '.join(damaged)}; there is no other: give --restart to begin anew, "
            "or another --log_dir"
        )
    return None


def _newest_first(log_dir: str) -> list[str]:
    """Returns the paths of all checkpoints of which there is any file."""
    names = os.listdir(log_dir) if os.path.isdir(log_dir) else ()
    steps = {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}
    return [
        os.path.join(log_dir, f"{_PREFIX}{step}")
        for step in sorted(steps, reverse=True)
    ]


def _damage(path: str) -> str | None:
    """Returns what is wrong with the files of a checkpoint, if anything."""
    try:
        expected = Path(path + _SUMS).read_text()
        if _sums(path, os.path.basename(path)) != expected:
            return "the checksums of its files differ"
    except FileNotFoundError as error:
        return f"{os.path.basename(error.filename)} is missing"
    except (OSError, ValueError) as error:
        return _reason(error)
    return None


def _sums(path: str, name: str) -> str:
    """Returns the checksums of the files at a path, as those of a name."""
    lines = []
    for suffix in (_DATA, _INDEX):
        digest = hashlib.sha256(Path(path + suffix).read_bytes()).hexdigest()
        lines.append(f"{digest}  {name}{suffix}\n")
    return "".join(lines)


def write(
    path: str, values: Mapping[str, NDArray[Any]], metadata: Mapping[str, object]
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: without suffix.
        values: of the variables, by name.
        metadata: what `read_metadata` will return, of JSON's types.

    Raises:
        RunError: it can't be written; nothing of it is left.
    """
    directory, name = os.path.split(path)
    aside = os.path.join(directory, f".{name}")
    tensors = {**values, _METADATA: json.dumps(metadata)}
    try:
        os.makedirs(directory, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=aside,
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        Path(aside + _SUMS).write_text(_sums(aside, name))
        for suffix in _SUFFIXES:
            _sync(aside + suffix)
        for suffix in _SUFFIXES:
            os.rename(aside + suffix, path + suffix)
        _sync(directory)
    except (tf.errors.OpError, OSError) as error:
        for leftover in Path(directory).glob(f".{name}.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        raise RunError(
            f"checkpoint {path}: can't be written ({_reason(error)}); the ones before "
            "it are kept: make room, and start again with the same flags"
        ) from None


def _sync(path: str) -> None:
    """Brings a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(directory: str, step: int, keep: int) -> None:
    """Deletes all checkpoints up to a step but the newest; the index goes first."""
    old = os.path.join(directory, f"{_PREFIX}{step}")
    paths = _newest_first(directory)
    for path in paths[paths.index(old) + keep :]:
        for suffix in reversed(_SUFFIXES):
            Path(path + suffix).unlink(missing_ok=True)


def read_metadata(path: str) -> dict[str, Any]:
    """Returns the metadata of a checkpoint.

    Args:
        path: without suffix.

    Raises:
        InputError: it can't be read.
    """
    with _reading(path):
        return dict(json.loads(tf.train.load_checkpoint(path).get_tensor(_METADATA)))


def read(path: str, variables: Mapping[str, tf.Variable]) -> None:
    """Gives variables the values of a checkpoint.

    Args:
        path: without suffix.
        variables: of the same network, by name.

    Raises:
        InputError: it can't be read, or has not all of them.
    """
    with _reading(path):
        reader = tf.train.load_checkpoint(path)
        values = {name: reader.get_tensor(name) for name in variables}
        for name, variable in variables.items():
            variable.assign(values[name])


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(
            f"checkpoint {path} can't be read ({_reason(error)}); move its files away "
            "to continue from the one before it, or give --restart to begin anew"
        ) from None


def _check_same_run(
    path: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    """Raises InputError if a checkpoint's metadata are of another run."""
    for kind, name, shown in (
        ("config", "model", "--model"),
        ("config", "momentum", "--momentum"),
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
