"""The metric writer of a run: all destinations on rank 0, none on the other ranks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from distmnist.core import resuming
from distmnist.core.config import Config
from distmnist.core.errors import RunError
from distmnist.core.flags import to_flags
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.console import ConsoleWriter
from distmnist.metrics.jsonl import JsonLinesWriter
from distmnist.metrics.tensorboard import TensorBoardWriter
from distmnist.metrics.trackers import TrackerProcesses
from distmnist.metrics.types import Evaluation, MetricWriter, TrainMetrics


def create_writer(
    config: Config, cluster: Cluster, step: int, history: MetricWriter
) -> MetricWriter:
    """Returns the metric writer of this rank; rank 0 alone writes files.

    Rank 0 also writes the flags of the run, as a flag file.

    Args:
        config: run configuration; its run directory exists.
        cluster: the ranks.
        step: completed steps.
        history: further writer, on all ranks.

    Raises:
        RunError: a file cannot be written.
    """
    if cluster.rank != 0:
        return history
    directory = RunDirectory(config.log_dir)
    with _write_errors(config.log_dir):
        # Whole or not at all; in the encoding of file names, which are among them.
        directory.rewritten.write_bytes(os.fsencode(to_flags(config)))
        os.replace(directory.rewritten, directory.flags)
    return _AllWriters(
        config.log_dir,
        (
            lambda: history,
            ConsoleWriter,
            lambda: JsonLinesWriter(directory.metrics, cluster.size, step),
            lambda: TensorBoardWriter(directory, config, cluster.size),
            lambda: TrackerProcesses(config),  # last: they read what others write
        ),
    )


class _AllWriters(MetricWriter):
    """Several writers as one; write errors are reported as RunError."""

    def __init__(self, log_dir: str, create: Sequence[Callable[[], MetricWriter]]):
        """Creates the writers.

        Args:
            log_dir: run directory, for messages.
            create: functions that create them.

        Raises:
            RunError: a file cannot be written.
        """
        self._log_dir = log_dir
        with _write_errors(log_dir):
            self._writers = [create_writer() for create_writer in create]

    def graph(self, graph: tf.Graph) -> None:
        """Calls all writers."""
        self._call(lambda writer: writer.graph(graph))

    def train(self, metrics: TrainMetrics) -> None:
        """Calls all writers."""
        self._call(lambda writer: writer.train(metrics))

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Calls all writers."""
        self._call(lambda writer: writer.evaluation(progress, evaluation))

    def breakdown(self, progress: Progress, breakdown: Breakdown) -> None:
        """Calls all writers."""
        self._call(lambda writer: writer.breakdown(progress, breakdown))

    def close(self) -> None:
        """Closes all writers."""
        self._call(lambda writer: writer.close())

    def wait(self) -> None:
        """Calls all writers."""
        self._call(lambda writer: writer.wait())

    def _call(self, method: Callable[[MetricWriter], None]) -> None:
        with _write_errors(self._log_dir):
            for writer in self._writers:
                method(writer)


@contextlib.contextmanager
def _write_errors(log_dir: str) -> Iterator[None]:
    """Raises what goes wrong inside as RunError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"log directory {log_dir}: cannot be written to ({error}); "
            f"{resuming.how_to_continue()}"
        ) from None
