"""Takes back what a run told after the step that it continues from.

A run that ends between two checkpoints has told of steps that it will take again.
metrics.jsonl and TensorBoard's event files lose them, so that each step is there
once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from distmnist.metrics.tensorboard import EVAL_DIRECTORY, EVENTS_PREFIX
from distmnist.metrics.writers import METRICS_FILE


def rewind(log_dir: str, step: int) -> None:
    """Drops what was told after a step.

    Each file is replaced as a whole; a last record that was half written goes too.

    Args:
        log_dir: directory of the run.
        step: the last one that stays; -1 if nothing is to stay.

    Raises:
        OSError: a file can't be written.
    """
    directory = Path(log_dir)
    aside = directory / ".rewinding"
    if (metrics := directory / METRICS_FILE).exists():
        aside.write_text("".join(_lines(metrics, step)))
        os.replace(aside, metrics)
    for events in (
        *directory.glob(f"{EVENTS_PREFIX}*"),
        *directory.glob(f"{EVAL_DIRECTORY}/*/{EVENTS_PREFIX}*"),
    ):
        kept = [event for event in _events(events) if _step(event) <= step]
        if not kept:
            events.unlink()
            continue
        with tf.io.TFRecordWriter(str(aside)) as records:
            for event in kept:
                records.write(event)
        os.replace(aside, events)


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


def _step(event: bytes) -> int:
    return int(tf.compat.v1.Event.FromString(event).step)
