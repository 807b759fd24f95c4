"""Metric types, and the interface of metric writers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.breakdown import Breakdown
from distmnist.models.network import Network


class Run(NamedTuple):
    """A run that is about to train.

    Attributes:
        config: run configuration.
        cluster: the ranks.
        num_examples: size of the training split.
        start: progress at the start of training.
        last_step: step to train to.
    """

    config: Config
    cluster: Cluster
    num_examples: int
    start: Progress
    last_step: int


class SplitResult(NamedTuple):
    """The result of evaluating one split.

    Attributes:
        num_examples: size of the split.
        metrics: all metrics by name, the loss first; "accuracy", the fraction of
            correct examples, in [0, 1], for classes.
        counts: what is counted for classes; None for targets that are numbers, and
            where the outputs of a network with a loss of its own are no logits.
    """

    num_examples: int
    metrics: Mapping[str, float]
    counts: ClassCounts | None


class ClassCounts(NamedTuple):
    """The counts of a split of examples with classes.

    Attributes:
        num_examples: number of examples, or of classes to predict.
        num_correct: those whose label has the highest logit.
        confusion: int64 [num_classes, num_classes]: number of examples by label (row)
            and prediction (column). Examples without finite logits are not counted.
            None if there are too many classes.
    """

    num_examples: int
    num_correct: int
    confusion: NDArray[np.int64] | None

    @property
    def accuracy(self) -> float:
        """Fraction of correct examples, in [0, 1]: the tutorial's precision @ 1."""
        return self.num_correct / self.num_examples

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision of each class, [num_classes]; nan if it was never predicted.

        Empty without a confusion matrix.
        """
        if self.confusion is None:
            return np.empty(0)
        return _fractions(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall of each class, [num_classes]; nan if it has no examples.

        Empty without a confusion matrix.
        """
        if self.confusion is None:
            return np.empty(0)
        return _fractions(self.confusion.diagonal(), self.confusion.sum(axis=1))

    def most_confused(self, count: int) -> list[tuple[int, int, int]]:
        """Returns the most frequent confusions, the most frequent first.

        None without a confusion matrix.

        Args:
            count: most of them to return.

        Returns:
            Label, prediction and number of examples of each.
        """
        if self.confusion is None:
            return []
        wrong = self.confusion * ~np.eye(len(self.confusion), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(order, wrong.shape))
        return [(int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


class Mistakes(NamedTuple):
    """The misclassified examples of a split with the highest loss, highest first.

    Attributes:
        features: [n, *feature_shape], as in the data set.
        labels: int32 [n].
        predictions: int [n]; class of the highest logit.
        probabilities: float [n]; predicted probability of the label.
    """

    features: NDArray[Any]
    labels: NDArray[np.int32]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]


class Predictions(NamedTuple):
    """Predicted numbers of examples of a split, and their targets.

    Attributes:
        predicted: float32 [n, *target_shape]; a sample of a large split.
        targets: likewise.
        worst: the examples of the split with the largest errors.
    """

    predicted: NDArray[np.float32]
    targets: NDArray[np.float32]
    worst: Errors


class Errors(NamedTuple):
    """The examples of a split with the largest errors, largest first.

    Attributes:
        features: [n, *feature_shape], as in the data set.
        predicted: float32 [n, *target_shape].
        targets: likewise.
    """

    features: NDArray[Any]
    predicted: NDArray[np.float32]
    targets: NDArray[np.float32]


class Evaluation(NamedTuple):
    """The result of an evaluation.

    Attributes:
        results: result by name of the split.
        test: test split, as tensors.
        network: evaluated network; its variables continue to change.
        spec: shapes and classes of the data set.
    """

    results: Mapping[str, SplitResult]
    test: Split | StreamedSplit
    network: Network
    spec: DatasetSpec


class TrainMetrics(NamedTuple):
    """Metrics of the steps since the previous log line.

    Attributes:
        step: completed steps.
        consumed: training examples consumed by all ranks together.
        loss: mean loss of the last global batch.
        learning_rate: learning rate of the last step.
        gradient_norm: global L2 norm of the last step's averaged gradient.
        examples_per_sec: throughput of all ranks together.
        sec_per_step: mean duration of a step, in seconds.
        step_ms: percentiles of the duration of a step, in milliseconds, by name.
        goodput: share of the time since the previous log line that steps took, in
            [0, 1]; the rest went to evaluations, checkpoints and preparation.
        epoch: passes over the training split so far, a fraction.
    """

    step: int
    consumed: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples_per_sec: float
    sec_per_step: float
    step_ms: Mapping[str, float]
    goodput: float
    epoch: float


class MetricWriter:
    """Base class of metric writers; writes nothing itself."""

    def graph(self, graph: tf.Graph) -> None:
        """Writes the graph of the network."""

    def train(self, metrics: TrainMetrics) -> None:
        """Writes training metrics."""

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Writes the result of an evaluation of all splits.

        Args:
            progress: training progress.
            evaluation: the result.
        """

    def breakdown(self, progress: Progress, breakdown: Breakdown) -> None:
        """Writes what a step's time goes to.

        Args:
            progress: training progress.
            breakdown: the parts of a step.
        """

    def close(self) -> None:
        """Writes buffered data, and closes the files, at the end of the run."""

    def wait(self) -> None:
        """Waits for what goes on beside the training, closed or not."""

    def __enter__(self) -> MetricWriter:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Calls `wait`."""
        self.wait()


def _fractions(
    part: NDArray[np.int64], whole: NDArray[np.int64]
) -> NDArray[np.float64]:
    fractions: NDArray[np.float64] = np.full(len(part), np.nan)
    np.divide(part, whole, out=fractions, where=whole > 0)
    return fractions
