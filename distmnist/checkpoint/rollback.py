"""Log rollback: truncates the logs of a run to the step that it is restored to.

A run that ends between two checkpoints has logged steps that it will take again.
metrics.jsonl and TensorBoard's event files lose them, so that each step is logged once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from distmnist.core.progress import Progress
from distmnist.core.run_directory import BY_EXAMPLES, RunDirectory


def roll_back(directory: RunDirectory, progress: Progress | None) -> None:
    """Drops what was logged after a step.

    Each file is replaced as a whole; a partial last record is dropped.

    Args:
        directory: directory of the run.
        progress: training progress at the last step that is kept; None: nothing is
            kept.

    Raises:
        OSError: a file cannot be written.
    """
    step, consumed = (progress.step, progress.consumed) if progress else (-1, -1)
    if directory.metrics.exists():
        directory.rewritten.write_text("".join(_lines(directory.metrics, step)))
        os.replace(directory.rewritten, directory.metrics)
    for path in directory.event_files():
        kept = [
            record
            for record in _records(path)
            if _is_kept(tf.compat.v1.Event.FromString(record), step, consumed)
        ]
        if not kept:
            path.unlink()
            continue
        with tf.io.TFRecordWriter(str(directory.rewritten)) as records:
            for record in kept:
                records.write(record)
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


def _records(path: Path) -> Iterator[bytes]:
    """Yields the records of an event file, up to the first that is damaged."""
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError:
        return


def _is_kept(event: Any, step: int, consumed: int) -> bool:
    """Returns whether an event is not after a step, or after the examples consumed."""
    tags = [value.tag for value in event.summary.value]
    by_examples = any(tag.startswith(BY_EXAMPLES) for tag in tags)
    return bool(event.step <= (consumed if by_examples else step))
