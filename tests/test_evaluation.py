"""Precision: exact, remainder included."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from distmnist import model
from distmnist.cluster import Cluster
from distmnist.config import Config
from distmnist.datasets import Split
from distmnist.evaluation import Evaluator
from distmnist.summaries import Writer


@pytest.mark.parametrize("num_examples", [1, 7, 1000, 1001, 2345])
def test_counts_every_example_once(num_examples: int) -> None:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (num_examples, 784)).astype(np.uint8)
    labels = random.randint(0, 10, num_examples).astype(np.int32)
    network = model.Mlp(Config(hidden1=16, hidden2=8, seed=0))
    logits = network(tf.constant(images / 255, tf.float32))
    expected = int((logits.numpy().argmax(axis=1) == labels).sum())

    splits = {"test": Split(tf.constant(images), tf.constant(labels))}
    counts = []
    for rank in range(3):  # three ranks' shares, one after another
        cluster = Cluster()
        cluster.rank, cluster.size = rank, 3
        results = Evaluator(splits, network, cluster, Writer()).evaluate()
        assert results["test"].num_examples == num_examples
        counts.append(results["test"].num_correct)
    assert sum(counts) == expected
