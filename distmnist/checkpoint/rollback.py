"""Log rollback: truncates the logs of a run to the step that it is restored to.

A run that ends between two checkpoints has logged steps that it will take again.
metrics.jsonl and TensorBoard's event files lose them, so that each step is logged once.
Nothing else is lost: a file that is damaged is kept under another name.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.scalars import OVER_EXAMPLES

# Of TFRecord: length and its checksum; checksum of the data.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


def has_results(directory: RunDirectory) -> bool:
    """Returns whether there is more of a run than its start.

    Args:
        directory: directory of the run, without checkpoints.

    Raises:
        OSError: it cannot be read.
    """
    if not directory.metrics.exists():
        return bool(directory.event_files() or directory.best.checkpoint_steps())
    return any(
        not isinstance(record, dict) or record.get("kind") != "start"
        for record in map(_parse, directory.metrics.read_bytes().splitlines())
    )


def roll_back(directory: RunDirectory, progress: Progress) -> None:
    """Drops what was logged after a step.

    Each file is replaced as a whole, if anything in it is dropped; a partial last
    record is.

    Args:
        directory: directory of the run.
        progress: at the last step that is kept; of step -1: nothing is kept.

    Raises:
        OSError: a file cannot be written; those that it concerns are as before.
        tf.errors.OpError: likewise.
    """
    try:
        if directory.metrics.exists():
            _roll_back_metrics(directory, progress.step)
        for path in directory.event_files():
            _roll_back_events(directory, path, progress)
    finally:
        directory.rewritten.unlink(missing_ok=True)


def _roll_back_metrics(directory: RunDirectory, step: int) -> None:
    lines = directory.metrics.read_bytes().splitlines(keepends=True)
    records = [_parse(line) for line in lines]
    kept = [
        line
        for line, record in zip(lines, records)
        if line.endswith(b"\n") and _step(record) <= step
    ]
    if kept == lines:
        return
    if any(_step(record) == math.inf for record in records[:-1]):
        _keep_damaged(directory, directory.metrics)
    directory.rewritten.write_bytes(b"".join(kept))
    _replace(directory.rewritten, directory.metrics)


def _roll_back_events(directory: RunDirectory, path: Path, progress: Progress) -> None:
    records, is_damaged = _read_events(path)
    kept = [record for record in records if _is_kept(record, progress)]
    size = sum(len(record) + _HEADER_BYTES + _FOOTER_BYTES for record in kept)
    if size == path.stat().st_size:
        return
    if is_damaged:
        _keep_damaged(directory, path)
    if not kept:
        path.unlink()
        return
    with tf.io.TFRecordWriter(os.fsencode(directory.rewritten)) as writer:
        for record in kept:
            writer.write(record)
    _replace(directory.rewritten, path)


def _keep_damaged(directory: RunDirectory, path: Path) -> None:
    """Links a file under another name, so that what cannot be read stays."""
    kept = directory.damaged(path)
    os.link(path, kept)
    logging.warning(
        "%s is damaged: what can be read of it stays; as it was: %s", path, kept
    )


def _replace(new: Path, old: Path) -> None:
    """Replaces a file by another, which is on the disk before."""
    descriptor = os.open(new, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(new, old)


def _parse(line: bytes) -> Any:
    """Returns a line's JSON value; None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _step(record: Any) -> float:
    """Returns the step of a line of metrics.jsonl; infinity if it has none."""
    step = record.get("step") if isinstance(record, dict) else None
    return step if isinstance(step, (int, float)) else math.inf


def _read_events(path: Path) -> tuple[list[bytes], bool]:
    """Reads an event file up to the first record that is damaged.

    Returns:
        The records; whether one is damaged, other than a last one that is cut off.
    """
    whole, end, size, is_damaged = 0, 0, path.stat().st_size, False
    with path.open("rb") as file:
        while len(header := file.read(_HEADER_BYTES)) == _HEADER_BYTES:
            length = int.from_bytes(header[:8], "little")
            end += length + _HEADER_BYTES + _FOOTER_BYTES
            if end > size:  # it is the last, and cut off, if that is its length
                checksum = int.from_bytes(header[8:], "little")
                is_damaged = masked_crc32c(header[:8]) != checksum
                break
            whole += 1
            file.seek(end)
    records: list[bytes] = []
    try:
        # TensorFlow would take memory for all of a record that goes beyond the end.
        for record in tf.data.TFRecordDataset(os.fsencode(path)).take(whole):
            records.append(record.numpy())
    except tf.errors.DataLossError:
        return records, True
    return records, is_damaged


def _is_kept(record: bytes, progress: Progress) -> bool:
    event = tf.compat.v1.Event.FromString(record)
    over_examples = any(
        value.tag.endswith(OVER_EXAMPLES) for value in event.summary.value
    )
    return bool(event.step <= (progress.consumed if over_examples else progress.step))
