"""What there is to tell of a run, and the interface of those who tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.data.datasets import Split
from distmnist.distributed.cluster import Cluster
from distmnist.models.model import Network


class Run(NamedTuple):
    """What is going to be told of.

    Attributes:
        config: of the run.
        cluster: of the run.
        num_examples: size of the training split.
        start: where the training begins.
        last_step: where it ends.
    """

    config: Config
    cluster: Cluster
    num_examples: int
    start: Progress
    last_step: int


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


class Mistakes(NamedTuple):
    """Examples of a split that the network is most wrong about, the worst first.

    Attributes:
        images: uint8 [n, 784].
        labels: int [n].
        guesses: int [n]; the class of the highest logit.
        probabilities: float [n]; of the label, as the network has it.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    guesses: NDArray[np.int64]
    probabilities: NDArray[np.float32]


class Evaluation(NamedTuple):
    """What came of an evaluation.

    Attributes:
        results: precision by name of the split.
        test: the test split, as tensors.
        network: that was evaluated; its variables go on changing.
    """

    results: Mapping[str, Precision]
    test: Split
    network: Network


class TrainMetrics(NamedTuple):
    """What is known of the steps since the last log line.

    Attributes:
        step: completed steps.
        loss: of the global batch of the last step.
        learning_rate: of the last step.
        gradient_norm: of the gradient of the last step, over all ranks and variables.
        examples_per_sec: of all ranks together.
        sec_per_step: mean duration of a step.
        step_ms: percentiles of the duration of a step, in milliseconds, by name.
        epoch: passes over the training split so far, a fraction.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples_per_sec: float
    sec_per_step: float
    step_ms: Mapping[str, float]
    epoch: float


class Writer:
    """Receives what is worth telling."""

    def graph(self, graph: tf.Graph) -> None:
        """Shows the network."""

    def train(self, metrics: TrainMetrics) -> None:
        """Tells of training."""

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Tells of an evaluation of all splits.

        Args:
            step: completed steps.
            evaluation: what came of it.
        """

    def close(self) -> None:
        """Brings all to the disk."""


def _fractions(
    part: NDArray[np.int64], whole: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
