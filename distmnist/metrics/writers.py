"""What a run tells: console lines, TensorBoard, metrics.jsonl, flags.txt.

One interface, `metrics.Writer`, written to by one call; `create_writer` gives rank 0
all of them and the other ranks none, so that rank 0 alone writes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config, to_flags
from distmnist.core.errors import RunError
from distmnist.core.hooks import Every, EveryStop, Hook
from distmnist.core.progress import Progress
from distmnist.distributed import process
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.console import Console
from distmnist.metrics.tensorboard import EventFiles
from distmnist.metrics.types import Evaluation, Run, TrainMetrics, Writer
from distmnist.optim import optimizer

METRICS_FILE = "metrics.jsonl"
FLAGS_FILE = "flags.txt"

# Steps follow one another inside the graph, so what is known is the mean of those
# between two stops of the loop; the percentiles are over so many of these means.
_WINDOW = 100
_PERCENTILES = (50, 95, 99)


class _JsonLines(Writer):
    """metrics.jsonl: an object a line, flushed line by line."""

    def __init__(self, path: Path, size: int, step: int):
        self._file: IO[str] = path.open("a", buffering=1)
        self._size = size
        self._write(kind="start", step=step, **process.environment())

    def train(self, metrics: TrainMetrics) -> None:
        values = metrics._asdict()
        del values["sec_per_step"]
        self._write(kind="train", **values)

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        for split, result in evaluation.results.items():
            self._write(
                kind="eval",
                step=step,
                split=split,
                num_examples=result.num_examples,
                num_correct=result.num_correct,
                precision=result.value,
            )

    def _write(self, **values: object) -> None:
        line = json.dumps({**values, "size": self._size, "time": time.time()})
        self._file.write(line + "\n")

    def close(self) -> None:
        self._file.close()


class _All(Writer):
    """Several writers as one; what goes wrong is told in one line."""

    def __init__(self, log_dir: str, create: Sequence[Callable[[], Writer]]):
        self._log_dir = log_dir
        with self._failures():
            self._writers = [writer() for writer in create]

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise RunError(
                f"log directory {self._log_dir}: can't be written to ({error}); start "
                "again with the same flags to continue from the last checkpoint"
            ) from None

    def graph(self, graph: tf.Graph) -> None:
        self._tell(lambda writer: writer.graph(graph))

    def train(self, metrics: TrainMetrics) -> None:
        self._tell(lambda writer: writer.train(metrics))

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        self._tell(lambda writer: writer.evaluation(step, evaluation))

    def close(self) -> None:
        self._tell(lambda writer: writer.close())

    def _tell(self, what: Callable[[Writer], None]) -> None:
        with self._failures():
            for writer in self._writers:
                what(writer)


def create_writer(config: Config, cluster: Cluster, step: int) -> Writer:
    """Returns what this rank writes to: everything on rank 0, else nothing.

    Rank 0 also writes the flags, ready for --flagfile.

    Args:
        config: of the run; its log directory exists.
        cluster: of the run.
        step: where it begins.

    Raises:
        RunError: a file can't be written.
    """
    if cluster.rank != 0:
        return Writer()
    directory = Path(config.log_dir)

    def write_flags() -> Writer:
        (directory / FLAGS_FILE).write_text(to_flags(config))
        return Writer()

    return _All(
        config.log_dir,
        (
            write_flags,
            Console,
            lambda: _JsonLines(directory / METRICS_FILE, cluster.size, step),
            lambda: EventFiles(config.log_dir, config, cluster.size),
        ),
    )


def step_log(run: Run, writer: Writer) -> list[Hook]:
    """Returns the tasks that measure how training goes, and tell the writer of it."""
    log = StepLog(run, writer)
    return [EveryStop(log.note), Every(run.config.log_every, log)]


class StepLog:
    """Tells how training goes, each time it is called."""

    def __init__(self, run: Run, writer: Writer):
        """Begins to measure.

        Args:
            run: what to tell of.
            writer: is told.
        """
        self._run = run
        self._told = self._noted = run.start
        self._step_ms: deque[float] = deque(maxlen=_WINDOW)
        self._writer = writer

    def note(self, progress: Progress) -> None:
        """Notes how long the steps since the last stop of the loop took."""
        before, self._noted = self._noted, progress
        if before.seconds:  # the first ones wait for the graph to be built
            seconds = progress.seconds - before.seconds
            self._step_ms.append(1000 * seconds / (progress.step - before.step))

    def __call__(self, progress: Progress) -> None:
        """Tells of the steps since the last call."""
        before, self._told = self._told, progress
        seconds = progress.seconds - before.seconds
        config, size = self._run.config, self._run.cluster.size
        rate = optimizer.learning_rate(config, size, progress.step - 1, progress.ramp)
        percentiles = (
            np.percentile(self._step_ms, _PERCENTILES).tolist() if self._step_ms else ()
        )
        self._writer.train(
            TrainMetrics(
                step=progress.step,
                loss=progress.loss,
                learning_rate=float(rate),
                gradient_norm=progress.gradient_norm,
                examples_per_sec=(progress.consumed - before.consumed) / seconds,
                sec_per_step=seconds / (progress.step - before.step),
                step_ms={f"p{p}": ms for p, ms in zip(_PERCENTILES, percentiles)},
                epoch=progress.consumed / self._run.num_examples,
            )
        )
