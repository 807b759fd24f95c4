"""The network of the tutorial."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.sources.mnist import SPEC
from distmnist.data.spec import DatasetSpec
from distmnist.models.mlp import Mlp


def mlp(hidden1: int, hidden2: int, spec: DatasetSpec = SPEC) -> Mlp:
    return Mlp(Config(hidden1=hidden1, hidden2=hidden2, seed=0), spec)


def test_parameters_are_the_tutorials() -> None:
    layers = mlp(128, 32).layers
    shapes = [(784, 128), (128, 32), (32, 10)]
    assert [tuple(layer.weights.shape) for layer in layers] == shapes
    for layer, (inputs, units) in zip(layers, shapes):
        weights, stddev = layer.weights.numpy(), 1 / math.sqrt(inputs)
        assert np.abs(weights).max() <= 2 * stddev  # truncated at two stddevs
        # Truncation reduces the standard deviation to 0.88 of the original.
        np.testing.assert_allclose(weights.std(), 0.88 * stddev, rtol=0.1)
        np.testing.assert_array_equal(layer.biases.numpy(), np.zeros(units))


def test_variables_have_stable_names() -> None:
    assert list(mlp(8, 4).named_variables) == [
        f"{scope}/{name}"
        for scope in ("hidden1", "hidden2", "softmax_linear")
        for name in ("weights", "biases")
    ]


def test_inference_is_two_relu_layers_and_a_linear_one() -> None:
    network = mlp(16, 8)
    for variable in network.variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, (1, 2)))
    images = np.random.RandomState(0).rand(5, 784).astype(np.float32)
    units = images
    for layer in network.layers:
        last = units @ layer.weights.numpy() + layer.biases.numpy()
        units = np.maximum(last, 0)
    logits = network(tf.constant(images)).numpy()
    np.testing.assert_allclose(logits, last, rtol=1e-4, atol=1e-4)


def test_any_features_are_flattened() -> None:
    spec = DatasetSpec((4, 3, 2), 5, ("a", "b", "c", "d", "e"))
    shapes = [tuple(layer.weights.shape) for layer in mlp(8, 6, spec).layers]
    assert shapes == [(24, 8), (8, 6), (6, 5)]
    flops = Mlp.step_flops(Config(hidden1=8, hidden2=6, batch_size=10), spec)
    assert flops == 6 * 10 * (24 * 8 + 8 * 6 + 6 * 5)


def test_graph_has_the_tutorials_name_scopes() -> None:
    function = tf.function(mlp(8, 4).__call__)
    images = tf.TensorSpec([None, 784], tf.float32)
    names = [
        op.name for op in function.get_concrete_function(images).graph.get_operations()
    ]
    for scope in ("hidden1", "hidden2", "softmax_linear"):
        assert f"{scope}/MatMul" in names
