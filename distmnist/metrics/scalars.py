"""Scalars in TensorBoard: their descriptions, and the second x axis.

TensorBoard's x axis is the step of a point. A step of N ranks consumes N batches, so
the curves of different numbers of ranks do not line up over steps. The loss and the
metrics of evaluations are repeated as `loss_vs_examples` and so on, with another step:
the number of examples consumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins.scalar import summary_v2 as scalar

from distmnist.metrics.event_file import EventFile

# By tag, or by the part of the tag before the slash.
_DESCRIPTIONS = {
    "loss": "Mean loss: in training of the last global batch, before its step; in "
    "evaluations of the whole split. By default softmax cross-entropy, in nats, or the "
    "squared error of normalized targets.",
    "learning_rate": "Learning rate of the last step, after scaling by the number of "
    "workers, warm-up and decay.",
    "gradient_norm": "Global L2 norm of the last step's gradient, averaged over all "
    "workers.",
    "examples_per_sec": "Throughput of all workers together since the previous point, "
    "in examples per second.",
    "step_ms": "Duration of a step, in milliseconds: a percentile of the newest "
    "measurements (p50 is the median).",
    "goodput": "Share of the time since the previous point that steps took, from 0 to "
    "1; the rest went to evaluations, checkpoints and preparation.",
    "breakdown": "What a step's time goes to, in milliseconds, after the steps of "
    "--profile; floating-point operations of a step, and per second at the peak; "
    "their ratio, the utilization, from 0 to 1.",
    "precision": "Accuracy, from 0 to 1: the fraction of the split's examples whose "
    "label has the highest logit.",
    "precision_of_class": "Precision of a class on the test split, from 0 to 1: the "
    "fraction of the predictions of this class that are correct.",
    "recall_of_class": "Recall of a class on the test split, from 0 to 1: the fraction "
    "of the examples of this class that are predicted as such.",
}

OVER_EXAMPLES = "_vs_examples"
"""End of the tags of points whose step is the number of examples consumed."""


class ScalarWriter:
    """Writes scalars to an event file, each described by its first point.

    Attributes:
        file: the file.
    """

    def __init__(self, path: Path):
        """Opens a new event file.

        Args:
            path: its directory, a run of TensorBoard.
        """
        self.file = EventFile(path)
        self._described: set[str] = set()

    def write(
        self,
        values: Mapping[str, float],
        step: int,
        consumed: int = 0,
        over_examples: Iterable[str] = (),
    ) -> None:
        """Writes a point of each scalar, and those over examples.

        Args:
            values: scalars by tag.
            step: completed steps.
            consumed: examples consumed by all ranks together.
            over_examples: tags of scalars that are repeated over examples.
        """
        repeated = {tag + OVER_EXAMPLES: values[tag] for tag in over_examples}
        self._write(step, values)
        if repeated:
            self._write(consumed, repeated)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        points = (self._point(tag, value) for tag, value in values.items())
        self.file.write(step, *points)

    def _point(self, tag: str, value: float) -> Any:
        if tag in self._described:
            point = scalar.scalar_pb(tag, value)
            point.value[0].ClearField("metadata")  # TensorBoard reads the first only
            return point
        self._described.add(tag)
        return scalar.scalar_pb(tag, value, _describe(tag))


def _describe(tag: str) -> str:
    """Returns the description of a scalar."""
    name = tag.removesuffix(OVER_EXAMPLES)
    description = _DESCRIPTIONS.get(
        name.partition("/")[0], f"Metric {name} of the network, over the whole split."
    )
    if name == tag:
        return description
    return (
        f"{description} The x axis is the number of training examples consumed by all "
        "workers together: runs of different numbers of workers line up."
    )
