"""The checkpoint format: write, verify, find and read.

A checkpoint is one of TensorFlow's, `<log_dir>/model.ckpt-<completed steps>` with
`.data-*` and `.index`, readable with `tf.train.load_checkpoint`. Besides the
variables, by name, it contains `metadata`, a JSON object with the configuration and the
progress of the run. `.sha256` has the checksums of both files, in the format of
`sha256sum -c`.

It appears whole or not at all: the files are written under hidden names, synced to the
disk, and renamed, the index last.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from numpy.typing import NDArray

from distmnist.checkpoint import reader
from distmnist.checkpoint.metadata import Metadata
from distmnist.core import resuming
from distmnist.core.errors import InputError, RunError
from distmnist.core.regular_file import File
from distmnist.core.run_directory import RunDirectory

_INDEX, _SUMS, _DATA = ".index", ".sha256", ".data-00000-of-00001"
_SUFFIXES = (_DATA, _SUMS, _INDEX)  # in the order in which they appear
_METADATA = "metadata"

_CHUNK = 1 << 22  # bytes
_MAX_SUMS = 1 << 12  # bytes of the file of checksums

# Of file systems whose directories cannot be synced, such as CIFS and some over FUSE.
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def write(
    path: str,
    values: Mapping[str, NDArray[Any] | tf.Tensor],
    metadata: Mapping[str, object],
) -> None:
    """Writes a checkpoint, whole or not at all; when it returns, it is durable.

    In two parts, `write_hidden` and `publish`, which can also be called one by one: the
    values are needed for the first only.

    Args:
        path: without suffix.
        values: values of the variables, by name.
        metadata: see `Metadata`; JSON types only.

    Raises:
        RunError: it cannot be written; nothing of it is left.
    """
    write_hidden(path, values, metadata)
    publish(path)


def write_hidden(
    path: str,
    values: Mapping[str, NDArray[Any] | tf.Tensor],
    metadata: Mapping[str, object],
) -> None:
    """Writes the files of a checkpoint under hidden names; see `write`."""
    tensors = {**values, _METADATA: json.dumps(metadata)}
    with _whole_or_nothing(path):
        tf.raw_ops.SaveV2(
            # TensorFlow would encode a path as UTF-8, whatever the file system's
            # encoding is.
            prefix=os.fsencode(_hidden(path)),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )


def publish(path: str) -> None:
    """Has a checkpoint appear under its names, once it is durable; see `write`."""
    directory, name = os.path.split(path)
    temporary = _hidden(path)
    with _whole_or_nothing(path):
        written = {suffix: File(temporary + suffix) for suffix in (_DATA, _INDEX)}
        Path(temporary + _SUMS).write_text(_sums(written, name))
        for suffix in _SUFFIXES:
            _sync(temporary + suffix)
        for suffix in _SUFFIXES:
            os.rename(temporary + suffix, path + suffix)
        _sync(directory)


def _hidden(path: str) -> str:
    """Returns a hidden path, by that which is not; without suffix."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}")


@contextlib.contextmanager
def _whole_or_nothing(path: str) -> Iterator[None]:
    """Deletes what there is of a checkpoint, if it cannot be written inside."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        with contextlib.suppress(OSError):
            delete(path)
        directory, name = os.path.split(path)
        with contextlib.suppress(OSError):
            for leftover in Path(directory).glob(f".{name}.*"):
                with contextlib.suppress(OSError):
                    leftover.unlink()
        raise RunError(
            f"checkpoint {path}: cannot be written ({_reason(error)}); nothing earlier "
            f"is lost: free some space, and {resuming.how_to_continue()}"
        ) from None


def delete(path: str) -> None:
    """Deletes a checkpoint; its index goes first, so that it is never partially there.

    The index is hidden until the end: a run that is killed meanwhile deletes the rest
    when it starts again.

    Args:
        path: without suffix.

    Raises:
        OSError: some file cannot be deleted.
    """
    directory, name = os.path.split(path)
    hidden = Path(directory, f".{name}{_INDEX}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path + _INDEX, hidden)
    for suffix in (_SUMS, _DATA):
        Path(path + suffix).unlink(missing_ok=True)
    hidden.unlink(missing_ok=True)


class Checkpoint:
    """A checkpoint with its files open: it can be read even if they are deleted.

    Attributes:
        path: without suffix.
        metadata: configuration and progress of its run.
        shapes: shape of each variable, by name.
    """

    def __init__(self, path: str):
        """Opens the files, and verifies them.

        Args:
            path: without suffix.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: it is damaged; the message says how.
            OSError: a file cannot be read.
        """
        self.path = path
        index = File(path + _INDEX)
        try:
            self._data = File(path + _DATA)
            sums = File(path + _SUMS)
            expected = sums.read(min(sums.size, _MAX_SUMS))
        except FileNotFoundError as error:
            raise ValueError(f"{os.path.basename(error.filename)} is missing") from None
        found = _sums({_DATA: self._data, _INDEX: index}, os.path.basename(path))
        if found.encode() != expected:
            raise ValueError("checksums differ")
        self._bundle = reader.Bundle(index, self._data)
        self.metadata = Metadata.from_json(self._bundle.text(_METADATA))
        self.shapes = {
            name: list(entry.shape)
            for name, entry in self._bundle.entries.items()
            if name != _METADATA
        }

    def restore(self, variables: Mapping[str, tf.Variable]) -> None:
        """Assigns its values to variables.

        Args:
            variables: of the same network, by name.

        Raises:
            InputError: a value cannot be read, is missing, or of another shape.
        """
        try:
            for name, variable in variables.items():
                shape = variable.shape.as_list()
                if self.shapes.get(name, shape) != shape:
                    raise ValueError(f"{name} is not of shape {shape}")
            values = {name: self._bundle.array(name) for name in variables}
            for name, variable in variables.items():
                if values[name].dtype != variable.dtype.as_numpy_dtype:
                    raise ValueError(f"{name} is not of type {variable.dtype.name}")
        except (OSError, ValueError) as error:
            raise InputError(
                f"checkpoint {self.path} cannot be read ({_reason(error)}); is it of "
                "another network, or another version of it? If not, restore its files"
            ) from None
        for name, variable in variables.items():
            variable.assign(values[name])

    def close(self) -> None:
        """Closes its files."""
        self._data.close()


def latest(
    directory: RunDirectory, advice: str = "name the directory of another run"
) -> Checkpoint | None:
    """Opens the newest intact checkpoint of a run that may be going on.

    Logs a warning if a newer one is damaged, or incomplete: the index appears last and
    disappears first, so that without it the others are what a killed process left.

    Args:
        directory: run directory.
        advice: what to do if all are damaged.

    Returns:
        The checkpoint; None if there is none, or no complete one.

    Raises:
        InputError: all are damaged.
        OSError: the directory cannot be read.
    """
    steps: list[int] | None = None
    while steps != (listed := directory.checkpoint_steps()):  # pruned meanwhile
        steps, problems, damaged = listed, [], False
        for path in map(directory.checkpoint, steps):
            try:
                found = Checkpoint(path)
            except FileNotFoundError:
                problems.append(f"checkpoint {path} is incomplete, and ignored")
            except (OSError, ValueError) as error:
                if os.path.exists(path + _INDEX):
                    problems.append(f"checkpoint {path} is damaged ({_reason(error)})")
                    damaged = True
            else:
                if problems:
                    logging.warning("%s; using %s", "; ".join(problems), path)
                return found
    if damaged:
        raise InputError(f"{'; '.join(problems)}; there is no other: {advice}")
    if problems:
        logging.warning("%s", "; ".join(problems))
    return None


def _sums(files: Mapping[str, File], name: str) -> str:
    """Returns the checksums of files by their suffix, as those of a name."""
    lines = []
    for suffix, file in files.items():
        sha256 = hashlib.sha256()
        for begin in range(0, file.size, _CHUNK):
            sha256.update(file.read(min(_CHUNK, file.size - begin), begin))
        lines.append(f"{sha256.hexdigest()}  {name}{suffix}\n")
    return "".join(lines)


def _sync(path: str) -> None:
    """Writes a file, or the names in a directory, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        _warn_not_durable(directory, error.strerror)
    finally:
        os.close(descriptor)


@functools.cache  # once for each directory
def _warn_not_durable(directory: str, reason: str) -> None:
    logging.warning(
        "%s: the file system cannot be told to write through to the disk (%s): the "
        "newest checkpoint may be lost if the machine loses power",
        directory,
        reason,
    )


def _reason(error: Exception) -> str:
    """Returns what went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
