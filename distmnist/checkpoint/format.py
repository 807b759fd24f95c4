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

from distmnist.core import resuming
from distmnist.core.errors import InputError, RunError
from distmnist.core.run_directory import RunDirectory

_INDEX, _SUMS, _DATA = ".index", ".sha256", ".data-00000-of-00001"
_SUFFIXES = (_DATA, _SUMS, _INDEX)  # in the order in which they appear
_METADATA = "metadata"

# Of file systems whose directories cannot be synced, such as CIFS and some over FUSE.
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

# What TensorFlow raises on invalid files.
_UNREADABLE = (
    tf.errors.OpError,
    RuntimeError,
    ValueError,
    LookupError,
    AssertionError,
    OSError,
)


def write(
    path: str, values: Mapping[str, NDArray[Any]], metadata: Mapping[str, object]
) -> None:
    """Writes a checkpoint, whole or not at all; when it returns, it is durable.

    Args:
        path: without suffix.
        values: values of the variables, by name.
        metadata: returned by `read_metadata`; JSON types only.

    Raises:
        RunError: it cannot be written; nothing of it is left.
    """
    # TensorFlow would encode a path as UTF-8, whatever the file system's encoding is.
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    tensors = {**values, _METADATA: json.dumps(metadata)}
    try:
        tf.raw_ops.SaveV2(
            prefix=os.fsencode(temporary),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        Path(temporary + _SUMS).write_text(_sums(temporary, name))
        for suffix in _SUFFIXES:
            _sync(temporary + suffix)
        for suffix in _SUFFIXES:
            os.rename(temporary + suffix, path + suffix)
        _sync(directory)
    except (tf.errors.OpError, OSError) as error:
        with contextlib.suppress(OSError):
            delete(path)
        with contextlib.suppress(OSError):
            for leftover in Path(directory).glob(f".{name}.*"):
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


def latest(directory: RunDirectory) -> str | None:
    """Returns the path of the newest intact checkpoint, without suffix; None if none.

    Logs a warning if a newer one is damaged.

    Raises:
        InputError: all are damaged.
        OSError: the directory cannot be read.
    """
    damaged: list[str] = []
    for path in map(directory.checkpoint, directory.checkpoint_steps()):
        problem = _damage(path)
        if not problem:
            if damaged:
                logging.warning("%s; using %s", "; ".join(damaged), path)
            return path
        damaged.append(f"checkpoint {path} is damaged ({problem})")
    if damaged:
        raise InputError(
            f"{'; '.join(damaged)}; there is no other: give --restart to start from "
            "scratch, or another --log_dir"
        )
    return None


def read_metadata(path: str) -> dict[str, Any]:
    """Returns the metadata of a checkpoint.

    Args:
        path: without suffix.

    Raises:
        InputError: it cannot be read.
    """
    with _reading(path) as reader:
        return dict(json.loads(reader.get_tensor(_METADATA)))


def read_shapes(path: str) -> dict[str, list[int]]:
    """Returns the shape of each variable of a checkpoint, by name.

    Args:
        path: without suffix.

    Raises:
        InputError: it cannot be read.
    """
    with _reading(path) as reader:
        return dict(reader.get_variable_to_shape_map())


def read(path: str, variables: Mapping[str, tf.Variable]) -> None:
    """Assigns the values of a checkpoint to variables.

    Args:
        path: without suffix.
        variables: of the same network, by name.

    Raises:
        InputError: it cannot be read, or lacks one of them.
    """
    with _reading(path) as reader:
        values = {name: reader.get_tensor(name) for name in variables}
        for name, variable in variables.items():
            variable.assign(values[name])


def _damage(path: str) -> str | None:
    """Returns what is wrong with the files of a checkpoint; None if nothing is."""
    try:
        expected = Path(path + _SUMS).read_text()
        if _sums(path, os.path.basename(path)) != expected:
            return "checksums differ"
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


@contextlib.contextmanager
def _reading(path: str) -> Iterator[Any]:
    """Opens a checkpoint, for `get_tensor`.

    Raises:
        InputError: it cannot be read.
    """
    directory, name = os.path.split(path)
    try:
        descriptor = os.open(directory or ".", os.O_RDONLY)
        try:
            # TensorFlow takes a path for a pattern: of a directory named "[a]", say, it
            # would find nothing.
            yield tf.train.load_checkpoint(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            os.close(descriptor)
    except _UNREADABLE as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({_reason(error)}); move its files away "
            "to continue from the one before it, or give --restart to start from "
            "scratch"
        ) from None


def _reason(error: Exception) -> str:
    """Returns what went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
