"""Log rollback: truncates the logs of a run to the step that it is restored to.

A run that ends between two checkpoints has logged steps that it will take again.
metrics.jsonl and TensorBoard's event files lose them, so that each step is logged once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.scalars import OVER_EXAMPLES


def roll_back(directory: RunDirectory, progress: Progress) -> None:
    """Drops what was logged after a step.

    Each file is replaced as a whole; a partial last record is dropped.

    Args:
        directory: directory of the run.
        progress: at the last step that is kept; of step -1: nothing is kept.

    Raises:
        OSError: a file cannot be written.
    """
    if directory.metrics.exists():
        lines = _lines(directory.metrics, progress.step)
        directory.rewritten.write_text("".join(lines))
        os.replace(directory.rewritten, directory.metrics)
    for path in directory.event_files():
        kept = [event for event in _events(path) if _is_kept(event, progress)]
        if not kept:
            path.unlink()
            continue
        with tf.io.TFRecordWriter(str(directory.rewritten)) as records:
            for event in kept:
                records.write(event)
        os.replace(directory.rewritten, path)


def _lines(metrics: Path, step: int) -> Iterator[str]:
    """Yields the lines up to a step."""
    with metrics.open() as file:
        for line in file:
            try:
                if json.loads(line)["step"] <= step:
                    yield line
            except (ValueError, LookupError):
                return


def _events(path: Path) -> Iterator[bytes]:
    """Yields the records of an event file, up to the first that is damaged."""
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError:
        return


def _is_kept(record: bytes, progress: Progress) -> bool:
    event = tf.compat.v1.Event.FromString(record)
    over_examples = any(
        value.tag.endswith(OVER_EXAMPLES) for value in event.summary.value
    )
    return bool(event.step <= (progress.consumed if over_examples else progress.step))
