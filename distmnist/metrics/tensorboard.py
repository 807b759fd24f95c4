"""TensorBoard: event files with scalars, images, histograms, the graph and the flags.

The metrics of each split are scalars of its own TensorBoard run, `eval/<split>`,
because TensorBoard colors the curves of a chart by run. The accuracy is called
`precision` there, as in the tutorial.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram import summary_v2 as histogram
from tensorboard.plugins.hparams import summary_v2 as hparams  # `api` loads Keras
from tensorboard.plugins.image import metadata as image
from tensorboard.plugins.text import summary_v2 as text

from distmnist.core import arrays
from distmnist.core.config import Config
from distmnist.core.optimizer_options import OPTIMIZER
from distmnist.core.options import groups_of
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.core.training_options import TRAINING
from distmnist.metrics import most_wrong
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.scalars import ScalarWriter
from distmnist.metrics.types import (
    Evaluation,
    MetricWriter,
    SplitResult,
    TrainMetrics,
)

# Charts of several curves, on the page "Custom scalars": regular expressions of the
# tags in each.
_CHARTS = {
    "Speed": {"Milliseconds per step, percentiles": r"step_ms/p\d+"},
    "Classes of the test split": {
        "Precision": "precision_of_class/.+",
        "Recall": "recall_of_class/.+",
    },
}

# Classes up to which each has curves of its own.
_MAX_CURVES = 50

# Images and histograms take as long as an evaluation: they are written at most this
# often, and at the end.
_IMAGE_SECONDS = 30.0

# Values of a variable in its histogram: TensorBoard takes 0.1 s for a million, and 5 s
# for 16 million.
_MOST_VALUES = 2**20

# Hyperparameters, for the table that compares runs.
_HPARAMS = (
    *(o.name for group in (TRAINING, OPTIMIZER) for o in groups_of(Config)[group]),
    *("dataset", "size"),
)


class TensorBoardWriter(MetricWriter):
    """Writes event files."""

    def __init__(self, directory: RunDirectory, config: Config, size: int):
        """Opens a new event file, and writes the flags.

        Args:
            directory: directory of the run.
            config: run configuration.
            size: number of ranks.
        """
        self._directory = directory
        self._scalars = ScalarWriter(directory.path)
        self._file = self._scalars.file
        self._splits: dict[str, ScalarWriter] = {}  # of evaluations
        self._pending: tuple[int, Evaluation] | None = None  # step, not yet drawn
        self._drawn = time.monotonic()
        values = {**dataclasses.asdict(config), "size": size}
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        self._hyperparameters = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in values.items()
            if name in _HPARAMS
        }
        # A path need not be UTF-8.
        table = f"| flag | value |\n|---|---|\n{rows}".encode(errors="replace").decode()
        for summary in (
            text.text_pb("flags", table),
            hparams.hparams_pb(self._hyperparameters),
            custom_scalar.pb(_layout()),
        ):
            self._file.write(0, summary)

    def graph(self, graph: tf.Graph) -> None:
        """Writes the graph."""
        self._file.write_graph(graph)

    def train(self, metrics: TrainMetrics) -> None:
        """Writes scalars."""
        names = (
            "loss",
            "learning_rate",
            "gradient_norm",
            "examples_per_sec",
            "goodput",
        )
        values = {name: getattr(metrics, name) for name in names}
        values.update({f"step_ms/{name}": ms for name, ms in metrics.step_ms.items()})
        self._scalars.write(values, metrics.step, metrics.consumed, ("loss",))
        self._file.flush()  # the process may be killed before the next checkpoint

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Writes scalars, and from time to time images and histograms."""
        if not self._splits:
            self._write_hparams_config(evaluation.results)
        for split, result in evaluation.results.items():
            if split not in self._splits:
                self._splits[split] = ScalarWriter(self._directory.evaluation(split))
            writer = self._splits[split]
            values = {
                tag: result.metrics[name] for name, tag in _tags(result.metrics).items()
            }
            writer.write(values, progress.step, progress.consumed, values)
            writer.file.flush()
        test = evaluation.results["test"].counts
        if test and len(evaluation.spec.class_names) <= _MAX_CURVES:
            of_classes = {
                f"{tag}/{name}": value
                for tag, values in (
                    ("precision_of_class", test.precision.tolist()),
                    ("recall_of_class", test.recall.tolist()),
                )
                for name, value in zip(evaluation.spec.class_names, values)
                if not math.isnan(value)
            }
            self._scalars.write(of_classes, progress.step)
        self._pending = (progress.step, evaluation)
        if time.monotonic() - self._drawn > _IMAGE_SECONDS:
            self._draw()
        self._file.flush()

    def breakdown(self, progress: Progress, breakdown: Breakdown) -> None:
        """Writes scalars."""
        values = breakdown.as_metrics()
        self._scalars.write(
            {f"breakdown/{k}": v for k, v in values.items()}, progress.step
        )
        self._file.flush()

    def _write_hparams_config(self, results: Mapping[str, SplitResult]) -> None:
        """Writes which metrics the table of runs has: they are known from now on."""
        evaluations = self._directory.evaluations.name
        tags = _tags(results["test"].metrics).values()
        columns = [
            hparams.Metric(tag, f"{evaluations}/{split}", f"{split} {tag}")
            for tag in sorted(tags, key=lambda tag: tag != "precision")
            for split in ("test", "validation", "train")
        ]
        names = [hparams.HParam(name) for name in self._hyperparameters]
        self._file.write(0, hparams.hparams_config_pb(names, columns))

    def _draw(self) -> None:
        """Writes images and histograms of the newest evaluation."""
        if self._pending is None:
            return
        step, evaluation = self._pending
        for name, pixels in _images(evaluation).items():
            self._file.write(step, _image_pb(f"test/{name}", pixels))
        for name, variable in evaluation.network.named_variables.items():
            values = arrays.view(variable.read_value()).ravel()
            stride = max(1, math.ceil(values.size / _MOST_VALUES))
            self._file.write(step, histogram.histogram_pb(name, values[::stride]))
        self._pending, self._drawn = None, time.monotonic()

    def close(self) -> None:
        """Writes pending images, and closes the files."""
        self._draw()
        for writer in (self._scalars, *self._splits.values()):
            writer.file.close()


def _tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """Returns the tag of each metric of a split, by name."""
    tags = dict(zip(metrics, metrics))
    if "accuracy" in tags and "precision" not in tags:
        tags["accuracy"] = "precision"
    return tags


def _images(evaluation: Evaluation) -> dict[str, NDArray[np.uint8]]:
    """Draws the images of the test split, by name."""
    from distmnist.metrics import figures  # Matplotlib takes time to import

    spec, counts = evaluation.spec, evaluation.results["test"].counts
    found = most_wrong.find(evaluation.test, evaluation.network, spec, counts)
    return figures.draw(spec, counts, *found)


def _image_pb(tag: str, pixels: NDArray[np.uint8]) -> Any:
    """Returns the summary of an image, [height, width, channels], as a TensorFlow 2's.

    TensorBoard has a function for those of TensorFlow 1, whose tags are others.
    """
    summary = tf.compat.v1.Summary()
    height, width, _ = pixels.shape
    png = tf.io.encode_png(pixels).numpy()
    content = [str(width).encode(), str(height).encode(), png]
    metadata = image.create_summary_metadata(display_name=None, description=None)
    value = summary.value.add(tag=tag, tensor=tf.make_tensor_proto(content, tf.string))
    value.metadata.ParseFromString(metadata.SerializeToString())
    return summary


def _layout() -> layout_pb2.Layout:
    """Returns the charts of several curves."""
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
