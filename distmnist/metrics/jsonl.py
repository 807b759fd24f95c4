"""Metrics as JSON lines: one object per line, flushed line by line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO

from distmnist.core.progress import Progress
from distmnist.distributed import devices
from distmnist.metrics.types import Evaluation, MetricWriter, TrainMetrics


class JsonLinesWriter(MetricWriter):
    """Appends to a file of JSON lines."""

    def __init__(self, path: Path, size: int, step: int):
        """Writes the line of the start.

        Args:
            path: the file.
            size: number of ranks.
            step: completed steps.

        Raises:
            OSError: it cannot be written.
        """
        self._file: IO[str] = path.open("a", buffering=1)
        self._size = size
        self._write(kind="start", step=step, **devices.describe())

    def train(self, metrics: TrainMetrics) -> None:
        """Writes a line."""
        values = metrics._asdict()
        del values["sec_per_step"]
        self._write(kind="train", **values)

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Writes a line per split."""
        for split, result in evaluation.results.items():
            self._write(
                kind="eval",
                step=progress.step,
                consumed=progress.consumed,
                split=split,
                num_examples=result.num_examples,
                num_correct=result.num_correct,
                precision=result.accuracy,
            )

    def _write(self, **values: object) -> None:
        line = json.dumps({**values, "size": self._size, "time": time.time()})
        self._file.write(line + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
