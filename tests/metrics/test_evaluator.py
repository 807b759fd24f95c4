"""The evaluator: exact counts, remainders included."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.arrays import create_dataset
from distmnist.data.dataset import Split
from distmnist.data.sources.mnist import SPEC
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.metrics import most_wrong
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.types import ClassCounts
from distmnist.models import registry
from distmnist.models.mlp import Mlp
from distmnist.models.network import Network


class _Rank(Cluster):
    """One of three ranks, that are evaluated one after another.

    Attributes:
        parts: values that this rank has contributed to sums.
    """

    def __init__(self, rank: int, parts: list[tf.Tensor], totals: Any = ()):
        """Takes the sums over all ranks, in the order in which they are requested."""
        super().__init__()
        self.rank, self.size = rank, 3
        self.parts = parts
        self._totals = list(totals)

    def allreduce_sum(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the sum over all ranks, once it is known."""
        self.parts.append(value)
        return self._totals.pop(0) if self._totals else tf.ones_like(value)


@pytest.mark.parametrize("num_examples", [1, 7, 1000, 1001, 2345])
def test_counts_every_example_once(num_examples: int) -> None:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (num_examples, 784)).astype(np.uint8)
    labels = random.randint(0, 10, num_examples).astype(np.int32)
    network = Mlp(Config(hidden1=16, hidden2=8, seed=0), SPEC)
    logits = network(tf.constant(images / 255, tf.float32))
    expected = int((logits.numpy().argmax(axis=1) == labels).sum())

    splits = {"test": Split(tf.constant(images), tf.constant(labels))}
    ranks = [_Rank(rank, []) for rank in range(3)]
    results = [Evaluator(splits, network, rank, SPEC).evaluate() for rank in ranks]
    for rank in ranks:
        totals = [sum(parts) for parts in zip(*(rank.parts for rank in ranks))]
        evaluator = Evaluator(splits, network, _Rank(rank.rank, [], totals), SPEC)
        results.append(evaluator.evaluate())
    total = results[-1]["test"]
    assert total.counts
    assert total.counts.confusion is not None
    assert total.num_examples == total.counts.num_examples == num_examples
    assert total.counts.num_correct == expected
    assert total.metrics["accuracy"] == expected / num_examples
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    assert total.metrics["loss"] == pytest.approx(np.mean(loss), rel=1e-5)
    for result in results[3:]:
        np.testing.assert_equal(result["test"], total)
    confusion = total.counts.confusion
    predictions = logits.numpy().argmax(axis=1)
    expected_confusion = np.zeros((10, 10), int)
    np.add.at(expected_confusion, (labels, predictions), 1)
    assert (confusion == expected_confusion).all()


def test_finds_the_examples_that_are_most_wrong() -> None:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (2345, 784)).astype(np.uint8)
    labels = random.randint(0, 10, 2345).astype(np.int32)
    network = Mlp(Config(hidden1=16, hidden2=8, seed=0), SPEC)
    logits = network(tf.constant(images / 255, tf.float32))
    probabilities = tf.nn.softmax(logits).numpy()[np.arange(2345), labels]
    expected = np.argsort(probabilities)[:5]

    split = Split(tf.constant(images), tf.constant(labels))
    worst = most_wrong.mistakes(split, network, SPEC, count=5)
    assert (worst.features == images[expected]).all()
    assert (worst.labels == labels[expected]).all()
    assert (worst.predictions == logits.numpy().argmax(axis=1)[expected]).all()
    assert worst.probabilities == pytest.approx(probabilities[expected], rel=1e-5)


def test_precision_and_recall_of_classes() -> None:
    confusion = np.zeros((10, 10), int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 3, 1, 2
    precision = ClassCounts(6, 5, confusion)
    assert precision.precision[:2] == pytest.approx([1, 2 / 3])
    assert precision.recall[:2] == pytest.approx([3 / 4, 1])
    assert np.isnan(precision.recall[2:]).all()


def test_the_most_frequent_confusions_come_first() -> None:
    confusion = np.diag([9, 9, 9])
    confusion[0, 2], confusion[2, 1] = 2, 3
    counts = ClassCounts(32, 27, confusion)
    assert counts.most_confused(9) == [(2, 1, 3), (0, 2, 2)]
    assert counts.most_confused(1) == [(2, 1, 3)]
    assert ClassCounts(32, 27, None).most_confused(9) == []


class _Scaled(Network):
    """Predicts that targets are a multiple of features."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.factor = tf.Variable(1.0, name="factor")

    def __call__(self, features: tf.Tensor, position: Any = None) -> tf.Tensor:
        """Returns normalized predictions."""
        return self.factor * features[:, : self.spec.target_shape[0]]


def test_numbers_are_predicted_in_the_units_of_the_targets() -> None:
    features = np.random.RandomState(0).randn(2500, 3).astype(np.float32)
    scale = np.array([1.0, 1000.0], np.float32)
    targets = features[:, :2] * scale
    targets[7, 0] += 3  # a larger error, in its unit, than the next
    targets[8, 1] += 2000
    dataset = create_dataset((features, targets))
    network = registry.create(Config(), dataset.spec, network=_Scaled)
    split = Split(tf.constant(features), tf.constant(targets))
    spec = dataclasses.replace(
        dataset.spec, target_mean=(0.0, 0.0), target_std=(1.0, 1000.0)
    )
    counts = Evaluator({"test": split}, network, Cluster(), spec).evaluate()["test"]
    assert counts.counts is None
    assert list(counts.metrics) == ["loss", "mean_absolute_error", "mean_squared_error"]
    assert counts.metrics["mean_absolute_error"] == pytest.approx(2003 / 5000, rel=1e-4)
    mistakes, found = most_wrong.find(split, network, spec, None)
    assert mistakes is None
    assert found
    assert found.predicted.shape == found.targets.shape == (1250, 2)
    np.testing.assert_allclose(found.predicted[0], features[0, :2] * scale, rtol=1e-5)
    np.testing.assert_array_equal(found.worst.features[:2], features[[7, 8]])
    np.testing.assert_array_equal(found.worst.targets[:2], targets[[7, 8]])
    assert len(found.worst.targets) == 18


def test_outputs_in_another_shape_are_no_predictions() -> None:
    features = np.ones((20, 3), np.float32)
    targets = np.arange(20, dtype=np.float32)
    spec = create_dataset((features, targets)).spec
    network = registry.create(Config(), spec, network=_Wide)
    split = Split(tf.constant(features), tf.constant(targets))
    assert most_wrong.find(split, network, spec, None) == (None, None)


class _Wide(Network):
    """Has a loss of its own, of outputs that are not the targets' shape."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.factor = tf.Variable(1.0, name="factor")

    def __call__(self, features: tf.Tensor, position: Any = None) -> tf.Tensor:
        """Returns two numbers for each example: a mean and a deviation."""
        return self.factor * features[:, :2]

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the distance of the mean."""
        return tf.abs(outputs[:, 0] - targets)
