"""The network of the tutorial."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.models import model


def mlp(hidden1: int, hidden2: int) -> model.Mlp:
    return model.Mlp(Config(hidden1=hidden1, hidden2=hidden2, seed=0))


def test_parameters_are_the_tutorials() -> None:
    layers = mlp(128, 32).layers
    shapes = [(784, 128), (128, 32), (32, 10)]
    assert [tuple(layer.weights.shape) for layer in layers] == shapes
    for layer, (inputs, units) in zip(layers, shapes):
        weights, stddev = layer.weights.numpy(), 1 / math.sqrt(inputs)
        assert np.abs(weights).max() <= 2 * stddev  # truncated at two deviations
        # A normal distribution that is cut there has 0.88 of its deviation.
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


def test_loss_is_the_mean_cross_entropy() -> None:
    logits = np.array([[1.0, 2.0, 0.5] + [0.0] * 7, [0.0] * 10], np.float32)
    labels = np.array([1, 3], np.int32)
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[[0, 1], labels]).mean()
    loss = model.loss(tf.constant(logits), tf.constant(labels)).numpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_evaluation_counts_the_correct() -> None:
    logits = tf.one_hot([3, 1, 4], 10)
    assert model.evaluation(logits, tf.constant([3, 2, 4])).numpy() == 2


def test_graph_has_the_tutorials_name_scopes() -> None:
    function = tf.function(mlp(8, 4).__call__)
    images = tf.TensorSpec([None, 784], tf.float32)
    names = [
        op.name for op in function.get_concrete_function(images).graph.get_operations()
    ]
    for scope in ("hidden1", "hidden2", "softmax_linear"):
        assert f"{scope}/MatMul" in names
