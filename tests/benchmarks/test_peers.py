"""The peers train the networks of distmnist, with the same optimizer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models import registry
from distmnist.models.network import Network
from distmnist.optim.optimizer import DistributedOptimizer
from tests.benchmarks.measuring import NUM_GRADIENTS, TASKS
from tests.benchmarks.peers import keras_network

SIZES = {"mlp": NUM_GRADIENTS, "cnn": 3_274_634}  # parameters
DROPOUTS = {"mlp": [], "cnn": [0.5]}
MNIST = DatasetSpec((28, 28, 1), 10, ())


@pytest.fixture(params=TASKS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def create(model: str) -> Network:
    network = registry.create(Config(model=model), MNIST)
    for variable in network.variables:  # zero biases hide their use
        if "biases" in variable.name:
            variable.assign(tf.random.stateless_normal(variable.shape, (0, 1)) / 10)
    return network


def weights(network: Network) -> list[NDArray[np.float32]]:
    """Returns weights and biases from the first layer to the last."""
    layers = network.layers
    ordered = layers.values() if isinstance(layers, dict) else layers
    return [variable.numpy() for layer in ordered for variable in layer]


def images() -> NDArray[np.float32]:
    return np.random.RandomState(0).rand(20, 784).astype(np.float32)


def test_keras_computes_the_same(model: str) -> None:
    network, peer = create(model), keras_network.build(model)
    assert peer.count_params() == SIZES[model]
    peer.set_weights(weights(network))
    np.testing.assert_allclose(
        peer(images(), training=False),
        network(images().reshape(20, 28, 28, 1)),
        rtol=1e-4,
        atol=1e-5,
    )
    dropouts = [each for each in peer.layers if isinstance(each, keras.layers.Dropout)]
    assert [each.rate for each in dropouts] == DROPOUTS[model]


def test_torch_computes_the_same(model: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.benchmarks.peers import torch_network

    network, peer = create(model), torch_network.build(model)
    assert sum(each.numel() for each in peer.parameters()) == SIZES[model]
    for parameter, array in zip(peer.parameters(), weights(network)):
        if array.shape[0] == 7 * 7 * 64:  # from rows of channels to channels of rows
            array = array.reshape(7, 7, 64, -1).transpose(2, 0, 1, 3)
            array = array.reshape(7 * 7 * 64, -1)
        # From inputs x outputs to outputs x inputs.
        order = (3, 2, 0, 1) if array.ndim == 4 else range(array.ndim)[::-1]
        parameter.data = torch.tensor(array.transpose(order))
    with torch.no_grad():
        logits = peer.eval()(torch.tensor(images()))
    np.testing.assert_allclose(
        logits, network(images().reshape(20, 28, 28, 1)), rtol=1e-4, atol=1e-5
    )
    dropouts = [each.p for each in peer if isinstance(each, torch.nn.Dropout)]
    assert dropouts == DROPOUTS[model]


def own_path(model: str) -> list[NDArray[np.float32]]:
    """Returns a variable after each of three steps down a parabola."""
    task = TASKS[model]
    config = Config(learning_rate=task.learning_rate, momentum=task.momentum)
    x = tf.Variable([1.0, 2.0])
    optimizer = DistributedOptimizer(config, Cluster(), {"x": x})
    step = tf.function(lambda: optimizer.minimize(tf.reduce_sum(x**2)))
    path = []
    for _ in range(3):
        step()
        path.append(x.numpy())
    return path


def test_optimizer_of_keras(model: str) -> None:
    x = keras.Variable([1.0, 2.0])
    optimizer = keras_network.optimizer(model)
    for expected in own_path(model):
        optimizer.apply([2 * x.value], [x])
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)


def test_optimizer_of_torch(model: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.benchmarks.peers import torch_network

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch_network.optimizer(model, [x])
    for expected in own_path(model):
        optimizer.zero_grad()
        (x**2).sum().backward()
        optimizer.step()
        np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-6)
