"""What a run tells: console lines, TensorBoard, metrics.jsonl.

One interface, `Writer`, written to by one call; `create` gives rank 0 all of
them and the other ranks none, so that rank 0 alone writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.plugins.hparams import summary_v2 as hparams  # `api` loads Keras

from distmnist import optimizer
from distmnist.cluster import Cluster
from distmnist.config import Config
from distmnist.errors import RunError
from distmnist.periodic import Progress

METRICS_FILE = "metrics.jsonl"
EVENTS_PREFIX = "events.out.tfevents."  # TensorBoard chooses it

_TITLES = {
    "train": "Training Data Eval:",
    "validation": "Validation Data Eval:",
    "test": "Test Data Eval:",
}


class Precision(NamedTuple):
    """Precision @ 1 of one split.

    Attributes:
        num_examples: size of the split.
        num_correct: how many have their label as the highest logit.
        confusion: int64 [10, 10]: how many of each label (row) were taken for each
            class (column).  What has no finite logits is in none.
    """

    num_examples: int
    num_correct: int
    confusion: NDArray[np.int64]

    @property
    def value(self) -> float:
        """Fraction of correct examples, in [0, 1]."""
        return self.num_correct / self.num_examples

    @property
    def of_class(self) -> NDArray[np.float64]:
        """Of what was taken for each class, the fraction that is; nan if nothing."""
        return _fractions(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Of each class, the fraction that was found; nan if there is none."""
        return _fractions(self.confusion.diagonal(), self.confusion.sum(axis=1))


class TrainMetrics(NamedTuple):
    """What is known of the steps since the last log line.

    Attributes:
        step: completed steps.
        loss: of the global batch of the last step.
        learning_rate: of the last step.
        examples_per_sec: of all ranks together.
        sec_per_step: mean duration of a step.
        epoch: passes over the training split so far, a fraction.
    """

    step: int
    loss: float
    learning_rate: float
    examples_per_sec: float
    sec_per_step: float
    epoch: float


class Writer:
    """Receives what is worth telling."""

    def graph(self, graph: tf.Graph) -> None:
        """Shows the network."""

    def train(self, metrics: TrainMetrics) -> None:
        """Tells of training."""

    def evaluation(self, step: int, results: Mapping[str, Precision]) -> None:
        """Tells of an evaluation of all splits.

        Args:
            step: completed steps.
            results: by name of the split.
        """

    def close(self) -> None:
        """Brings all to the disk."""


class Console(Writer):
    """Standard output, in the tutorial's words."""

    def train(self, metrics: TrainMetrics) -> None:
        """Prints the line of a step."""
        step, loss, seconds = metrics.step, metrics.loss, metrics.sec_per_step
        _print(f"Step {step}: loss = {loss:.2f} ({seconds:.3f} sec)")

    def evaluation(self, step: int, results: Mapping[str, Precision]) -> None:
        """Prints the lines of each split."""
        for split, result in results.items():
            _print(
                f"{_TITLES[split]}\n"
                f"  Num examples: {result.num_examples}  "
                f"Num correct: {result.num_correct}  "
                f"Precision @ 1: {result.value:0.04f}"
            )


def _print(text: str) -> None:
    """Prints in one piece: launchers put the lines of all ranks together."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _JsonLines(Writer):
    """metrics.jsonl: an object a line, flushed line by line."""

    def __init__(self, path: Path, size: int):
        self._file: IO[str] = path.open("a", buffering=1)
        self._size = size

    def train(self, metrics: TrainMetrics) -> None:
        values = metrics._asdict()
        del values["sec_per_step"]
        self._write(kind="train", **values)

    def evaluation(self, step: int, results: Mapping[str, Precision]) -> None:
        for split, result in results.items():
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


class _TensorBoard(Writer):
    """An event file: scalars, the graph, the flags."""

    def __init__(self, log_dir: str, config: Config, size: int):
        self._writer = tf.summary.create_file_writer(log_dir)
        values = dataclasses.asdict(config)
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        with self._writer.as_default(step=0):
            tf.summary.text("flags", f"| flag | value |\n|---|---|\n{rows}")
            hparams.hparams(
                {
                    name: value if isinstance(value, (bool, int, float)) else str(value)
                    for name, value in {**values, "size": size}.items()
                }
            )

    def graph(self, graph: tf.Graph) -> None:
        with self._writer.as_default(step=0):
            tf.summary.graph(graph)

    def train(self, metrics: TrainMetrics) -> None:
        with self._writer.as_default(step=metrics.step):
            tf.summary.scalar("loss", metrics.loss)
            tf.summary.scalar("learning_rate", metrics.learning_rate)
            tf.summary.scalar("examples_per_sec", metrics.examples_per_sec)
        self._writer.flush()  # a kill may come before the next checkpoint

    def evaluation(self, step: int, results: Mapping[str, Precision]) -> None:
        with self._writer.as_default(step=step):
            for split, result in results.items():
                tf.summary.scalar(f"precision/{split}", result.value)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


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
        with self._failures():
            for writer in self._writers:
                writer.graph(graph)

    def train(self, metrics: TrainMetrics) -> None:
        with self._failures():
            for writer in self._writers:
                writer.train(metrics)

    def evaluation(self, step: int, results: Mapping[str, Precision]) -> None:
        with self._failures():
            for writer in self._writers:
                writer.evaluation(step, results)

    def close(self) -> None:
        with self._failures():
            for writer in self._writers:
                writer.close()


def create(config: Config, cluster: Cluster) -> Writer:
    """Returns what this rank writes to: everything on rank 0, else nothing.

    Args:
        config: of the run; its log directory exists.
        cluster: of the run.

    Raises:
        RunError: a file can't be written.
    """
    if cluster.rank != 0:
        return Writer()
    log_dir = config.log_dir
    return _All(
        log_dir,
        (
            Console,
            lambda: _JsonLines(Path(log_dir, METRICS_FILE), cluster.size),
            lambda: _TensorBoard(log_dir, config, cluster.size),
        ),
    )


class StepLog:
    """Tells how training goes, each time it is called."""

    def __init__(
        self,
        config: Config,
        size: int,
        num_examples: int,
        start: Progress,
        writer: Writer,
    ):
        """Begins to measure.

        Args:
            config: of the run.
            size: number of ranks.
            num_examples: size of the training split.
            start: where the training begins.
            writer: is told.
        """
        self._config = config
        self._size = size
        self._num_examples = num_examples
        self._before = start
        self._writer = writer

    def __call__(self, progress: Progress) -> None:
        """Tells of the steps since the last call."""
        before, self._before = self._before, progress
        seconds = progress.seconds - before.seconds
        rate = optimizer.learning_rate(
            self._config, self._size, progress.step - 1, progress.ramp
        )
        self._writer.train(
            TrainMetrics(
                step=progress.step,
                loss=progress.loss,
                learning_rate=float(rate),
                examples_per_sec=(progress.consumed - before.consumed) / seconds,
                sec_per_step=seconds / (progress.step - before.step),
                epoch=progress.consumed / self._num_examples,
            )
        )


def _fractions(
    part: NDArray[np.int64], whole: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
