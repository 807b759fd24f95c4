"""The evaluator: exact counts, remainders included."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.dataset import Split
from distmnist.data.sources.mnist import SPEC
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.evaluator import Evaluator, most_wrong
from distmnist.metrics.types import SplitResult
from distmnist.models.mlp import Mlp


@pytest.mark.parametrize("num_examples", [1, 7, 1000, 1001, 2345])
def test_counts_every_example_once(num_examples: int) -> None:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (num_examples, 784)).astype(np.uint8)
    labels = random.randint(0, 10, num_examples).astype(np.int32)
    network = Mlp(Config(hidden1=16, hidden2=8, seed=0), SPEC)
    logits = network(tf.constant(images / 255, tf.float32))
    expected = int((logits.numpy().argmax(axis=1) == labels).sum())

    splits = {"test": Split(tf.constant(images), tf.constant(labels))}
    counts, confusion = [], np.zeros((10, 10), int)
    for rank in range(3):  # the shards of three ranks, one after another
        cluster = Cluster()
        cluster.rank, cluster.size = rank, 3
        evaluator = Evaluator(splits, network, cluster, SPEC)
        results = evaluator.evaluate()
        assert results["test"].num_examples == num_examples
        counts.append(results["test"].num_correct)
        confusion += results["test"].confusion
    assert sum(counts) == expected
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
    worst = most_wrong(split, network, count=5)
    assert (worst.features == images[expected]).all()
    assert (worst.labels == labels[expected]).all()
    assert (worst.predictions == logits.numpy().argmax(axis=1)[expected]).all()
    assert worst.probabilities == pytest.approx(probabilities[expected], rel=1e-5)


def test_precision_and_recall_of_classes() -> None:
    confusion = np.zeros((10, 10), int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 3, 1, 2
    precision = SplitResult(6, 5, confusion)
    assert precision.precision[:2] == pytest.approx([1, 2 / 3])
    assert precision.recall[:2] == pytest.approx([3 / 4, 1])
    assert np.isnan(precision.recall[2:]).all()
