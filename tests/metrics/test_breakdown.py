"""The breakdown of a step."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from distmnist import Config, DatasetSpec, Split
from distmnist.data.pipeline import InputPipeline, Inputs
from distmnist.data.tensors import to_tensors
from distmnist.distributed.cluster import Cluster
from distmnist.metrics import breakdown
from distmnist.metrics.breakdown import Breakdown
from distmnist.models.mlp import Mlp


class TwoRanks(Cluster):
    """A cluster that seems to have another rank."""

    size = 2


def steps(milliseconds: float) -> Callable[..., tf.Tensor]:
    """Returns a function that takes as long for each step."""

    def take(inputs: Inputs, position: np.int64) -> tf.Tensor:
        time.sleep(len(inputs[0]) * milliseconds / 1000)
        return tf.constant(0.0)

    return take


def pipeline() -> InputPipeline:
    """Returns the input of ten examples of six numbers."""
    split = Split(np.zeros((10, 6), np.float32), np.zeros(10, np.int32))
    source = to_tensors({"train": split})["train"]
    return InputPipeline(source, DatasetSpec((6,), 2), batch_size=4, seed=0)


def test_communication_is_exposed_or_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent() -> list[tf.Tensor]:
        slept = tf.py_function(lambda: time.sleep(0.05) or 1.0, [], tf.float32)
        return [slept]

    weights = tf.Variable(np.arange(24, dtype=np.float32).reshape(6, 4))

    def loss(inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
        features = tf.ones([4, 6])
        return tf.reduce_sum(tf.matmul(features, weights))

    def take(inputs: Inputs, position: np.int64) -> tf.Tensor:
        weights.assign_add(weights)
        return steps(60)(inputs, position)

    found = breakdown.measure(
        Config(batch_size=4),
        TwoRanks(),
        {"weights": weights},
        pipeline(),
        (take, steps(40)),
        sent,
        loss,
    )
    assert found.step_ms == pytest.approx(60, rel=0.2)
    assert found.exposed_ms == pytest.approx(20, rel=0.3)
    assert found.hidden_ms == pytest.approx(30, rel=0.4)
    assert found.input_ms < 10
    parts = found.input_ms + found.compute_ms + found.exposed_ms
    assert parts == pytest.approx(found.step_ms)
    np.testing.assert_array_equal(weights, np.arange(24).reshape(6, 4))
    assert 1e8 < found.peak_flops < 1e15


def test_operations_are_those_of_the_matrix_products_and_their_gradients() -> None:
    config = Config(hidden1=8, hidden2=6, batch_size=10)
    network = Mlp(config, DatasetSpec((24,), 5))

    def loss(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return network.loss(network(features), labels)

    inputs = tf.TensorSpec([10, 24]), tf.TensorSpec([10], tf.int32)
    flops = breakdown.count_flops(loss, *inputs)
    # Each product has two of its kind in the backward pass, the first one; the rest of
    # the network takes less than a tenth.
    products = 2 * 10 * (2 * 24 * 8 + 3 * 8 * 6 + 3 * 6 * 5)
    assert products < flops < 1.2 * products


def test_what_is_not_known_is_not_told() -> None:
    known = Breakdown(10.0, 1.0, 6.0, 3.0, 2.0, 0.5, flops=4e6, peak_flops=1e9)
    assert "40.0% of the 1e+09" in str(known)
    unknown = known._replace(flops=0.0)
    assert "operations" not in str(unknown)
    assert set(unknown.as_metrics()) == {
        "step_ms",
        "input_ms",
        "compute_ms",
        "exposed_ms",
        "hidden_ms",
        "waiting_ms",
    }
    assert "waiting for examples 0.5 a step" in str(known)
    assert "waiting" not in str(known._replace(waiting_ms=0.0))
