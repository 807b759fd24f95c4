"""The step timer: measures steps, and writes training metrics every k steps."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from distmnist.core.progress import Progress
from distmnist.metrics.types import MetricWriter, Run, TrainMetrics
from distmnist.optim.schedules import Schedule

# Steps follow one another inside the graph, so only the mean of those between two stops
# of the loop is known; percentiles are over this many such means.
_WINDOW = 100
_PERCENTILES = (50, 95, 99)


class StepTimer:
    """Measures how fast training is; its methods are hooks."""

    def __init__(self, run: Run, writer: MetricWriter):
        """Starts to measure.

        Args:
            run: the run.
            writer: receives the metrics.
        """
        self._run = run
        self._written = self._measured = run.start
        self._step_ms: deque[float] = deque(maxlen=_WINDOW)
        self._writer = writer
        self._schedule = Schedule(run.config, run.cluster.size, run.num_examples)
        self._clock = time.perf_counter()

    def measure(self, progress: Progress) -> None:
        """Measures the steps since the previous stop of the loop."""
        before, self._measured = self._measured, progress
        if before.seconds:  # the first steps include building the graph
            seconds = progress.seconds - before.seconds
            self._step_ms.append(1000 * seconds / (progress.step - before.step))

    def write(self, progress: Progress) -> None:
        """Writes the metrics of the steps since the previous call."""
        before, self._written = self._written, progress
        seconds = progress.seconds - before.seconds
        clock, self._clock = self._clock, time.perf_counter()
        step = np.int64(progress.step - 1)  # TensorFlow would keep a Python integer
        self._schedule.resume(progress)
        rate = self._schedule(step)
        percentiles = (
            np.percentile(self._step_ms, _PERCENTILES).tolist() if self._step_ms else ()
        )
        self._writer.train(
            TrainMetrics(
                step=progress.step,
                consumed=progress.consumed,
                loss=progress.loss,
                learning_rate=float(rate),
                gradient_norm=progress.gradient_norm,
                examples_per_sec=(progress.consumed - before.consumed) / seconds,
                sec_per_step=seconds / (progress.step - before.step),
                step_ms={f"p{p}": ms for p, ms in zip(_PERCENTILES, percentiles)},
                goodput=seconds / (self._clock - clock),
                epoch=progress.consumed / self._run.num_examples,
            )
        )
