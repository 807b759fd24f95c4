"""Metrics as JSON lines: one object per line, flushed line by line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO

from distmnist.core import lock
from distmnist.core.progress import Progress
from distmnist.distributed import devices
from distmnist.metrics import records
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.records import Record
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
        self._path = path
        self._file: IO[str] = path.open("a", buffering=1)
        self._size = size
        self._write({"kind": "start", "step": step, **devices.describe()})

    def train(self, metrics: TrainMetrics) -> None:
        """Writes a line."""
        self._write(records.of_training(metrics))

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Writes a line per split."""
        for record in records.of_evaluation(progress, evaluation):
            self._write(record)

    def breakdown(self, progress: Progress, breakdown: Breakdown) -> None:
        """Writes a line."""
        self._write(records.of_breakdown(progress, breakdown))

    def _write(self, record: Record) -> None:
        lock.assert_in_place(self._file.fileno(), self._path)
        line = json.dumps({**record, "size": self._size, "time": time.time()})
        self._file.write(line + "\n")

    def close(self) -> None:
        """Closes the file; does nothing if it is closed."""
        if not self._file.closed:
            lock.assert_in_place(self._file.fileno(), self._path)
            self._file.close()
