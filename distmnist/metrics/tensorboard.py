"""What a run tells TensorBoard: event files.

The precision of each split is one scalar of a run of its own, `eval/<split>`, because
TensorBoard gives the curves of a chart different colors by their runs.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram import summary_v2 as histogram
from tensorboard.plugins.hparams import summary_v2 as hparams  # `api` loads Keras
from tensorboard.plugins.scalar import summary_v2 as scalar

from distmnist.core.config import SUBJECTS, Config
from distmnist.metrics import figures
from distmnist.metrics.evaluator import find_worst
from distmnist.metrics.types import Evaluation, TrainMetrics, Writer

EVENTS_PREFIX = "events.out.tfevents."  # TensorBoard chooses it
EVAL_DIRECTORY = "eval"

# The charts of several curves, on the page "Custom scalars": regular expressions of
# the tags on each.
_CHARTS = {
    "Speed": {"Milliseconds a step, percentiles": r"step_ms/p\d+"},
    "Classes of the test split": {
        "Precision": r"precision_of_class/\d",
        "Recall": r"recall_of_class/\d",
    },
}

# Pictures and histograms take as long as an evaluation: they are written this seldom,
# and at the end.
_SECONDS_A_DRAWING = 30.0

# What decides what is learned, for the table that compares runs.
_HPARAMS = (*SUBJECTS["Network and training"], "dataset", "size")


class EventFiles(Writer):
    """Scalars, pictures, histograms, the graph, the flags."""

    def __init__(self, log_dir: str, config: Config, size: int):
        """Opens a new event file, and writes the flags.

        Args:
            log_dir: its directory.
            config: of the run.
            size: number of ranks.
        """
        self._log_dir = log_dir
        self._writer = tf.summary.create_file_writer(log_dir)
        self._splits: dict[str, Any] = {}  # a writer each
        self._drawing: tuple[int, Evaluation] | None = None  # with its step
        self._drawn = time.monotonic()
        values = {**dataclasses.asdict(config), "size": size}
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        shown = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in values.items()
            if name in _HPARAMS
        }
        with self._writer.as_default(step=0):
            tf.summary.text("flags", f"| flag | value |\n|---|---|\n{rows}")
            hparams.hparams_config(
                [hparams.HParam(name) for name in shown],
                [
                    hparams.Metric("precision", f"{EVAL_DIRECTORY}/{split}", split)
                    for split in ("test", "validation", "train")
                ],
            )
            hparams.hparams(shown)
            _write(custom_scalar.pb(_layout()))

    def graph(self, graph: tf.Graph) -> None:
        """Writes the graph."""
        with self._writer.as_default(step=0):
            tf.summary.graph(graph)

    def train(self, metrics: TrainMetrics) -> None:
        """Writes scalars."""
        names = ("loss", "learning_rate", "gradient_norm", "examples_per_sec")
        values = {name: getattr(metrics, name) for name in names}
        values.update({f"step_ms/{name}": ms for name, ms in metrics.step_ms.items()})
        with self._writer.as_default(step=metrics.step):
            _write_scalars(values)
        self._writer.flush()  # a kill may come before the next checkpoint

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Writes scalars, and now and then pictures and histograms."""
        for split, result in evaluation.results.items():
            if split not in self._splits:
                path = os.path.join(self._log_dir, EVAL_DIRECTORY, split)
                self._splits[split] = tf.summary.create_file_writer(path)
            with self._splits[split].as_default(step=step):
                _write_scalars({"precision": result.value})
            self._splits[split].flush()
        test = evaluation.results["test"]
        with self._writer.as_default(step=step):
            _write_scalars(
                {
                    f"{tag}/{index}": value
                    for tag, values in (
                        ("precision_of_class", test.of_class.tolist()),
                        ("recall_of_class", test.recall.tolist()),
                    )
                    for index, value in enumerate(values)
                    if not math.isnan(value)
                }
            )
        self._drawing = (step, evaluation)
        if time.monotonic() - self._drawn > _SECONDS_A_DRAWING:
            self._draw()
        self._writer.flush()

    def _draw(self) -> None:
        """Writes pictures and histograms of the newest evaluation."""
        if self._drawing is None:
            return
        step, evaluation = self._drawing
        with self._writer.as_default(step=step):
            matrix = evaluation.results["test"].confusion
            worst = find_worst(evaluation.test, evaluation.network)
            for name, picture in (
                ("confusion_matrix", figures.confusion_matrix(matrix, "test")),
                ("worst_digits", figures.mistakes(worst)),
            ):
                tf.summary.image(f"test/{name}", picture[np.newaxis])
            for name, variable in evaluation.network.named_variables.items():
                _write(histogram.histogram_pb(name, variable.numpy().ravel()))
        self._drawing, self._drawn = None, time.monotonic()

    def close(self) -> None:
        """Closes the files."""
        self._draw()
        for writer in (self._writer, *self._splits.values()):
            writer.close()


def _write_scalars(values: Mapping[str, float]) -> None:
    """Writes scalars by their tags."""
    _write(*(scalar.scalar_pb(tag, value) for tag, value in values.items()))


def _write(*made: Any) -> None:
    """Writes summaries that TensorBoard's own code has made.

    In one call of TensorFlow's; its own `tf.summary` takes several for each.  The bytes
    of protocol buffers one after another are those of one with the values of all.
    """
    joined = b"".join(one.SerializeToString() for one in made)
    tf.summary.experimental.write_raw_pb(joined)


def _layout() -> layout_pb2.Layout:
    """Returns which charts show several curves together."""
    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name,
                        multiline=layout_pb2.MultilineChartContent(tag=[tags]),
                    )
                    for name, tags in charts.items()
                ],
            )
            for title, charts in _CHARTS.items()
        ]
    )
