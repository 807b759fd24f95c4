"""Metrics as records: the lines of metrics.jsonl, and `Fitted.history`."""

from __future__ import annotations

from typing import Any

from distmnist.core.progress import Progress
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.types import Evaluation, MetricWriter, TrainMetrics

Record = dict[str, Any]


def of_training(metrics: TrainMetrics) -> Record:
    """Returns training metrics as a record."""
    values = metrics._asdict()
    del values["sec_per_step"]
    return {"kind": "train", **values}


def of_evaluation(progress: Progress, evaluation: Evaluation) -> list[Record]:
    """Returns the result of an evaluation as a record per split."""
    records = []
    for split, result in evaluation.results.items():
        record = {
            "kind": "eval",
            "step": progress.step,
            "consumed": progress.consumed,
            "split": split,
            "num_examples": result.num_examples,
        }
        if result.counts:
            record["num_correct"] = result.counts.num_correct
            record["precision"] = result.counts.accuracy
        record["metrics"] = dict(result.metrics)
        records.append(record)
    return records


def of_breakdown(progress: Progress, breakdown: Breakdown) -> Record:
    """Returns the breakdown of a step as a record."""
    position = {"step": progress.step, "consumed": progress.consumed}
    return {"kind": "breakdown", **position, **breakdown.as_metrics()}


class History(MetricWriter):
    """Keeps all records in memory.

    Attributes:
        records: records in the order in which they were written.
    """

    def __init__(self) -> None:
        """Starts without records."""
        self.records: list[Record] = []

    def train(self, metrics: TrainMetrics) -> None:
        """Adds a record."""
        self.records.append(of_training(metrics))

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Adds a record per split."""
        self.records += of_evaluation(progress, evaluation)

    def breakdown(self, progress: Progress, breakdown: Breakdown) -> None:
        """Adds a record."""
        self.records.append(of_breakdown(progress, breakdown))
