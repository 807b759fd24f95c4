"""Networks: what holds for each, and how they are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.distributed.cluster import Cluster
from distmnist.models import model, registry
from distmnist.trainer import Trainer

IMAGES = tf.random.stateless_uniform([12, 784], (1, 2))


@pytest.fixture(params=["mlp", "cnn"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_variables_depend_on_the_seed_alone(name: str) -> None:
    first, same, other = (
        registry.find(name)(Config(seed=seed)).named_variables for seed in (1, 1, 2)
    )
    for key in first:
        np.testing.assert_array_equal(first[key].numpy(), same[key].numpy())
        if key.endswith("weights"):
            assert not np.array_equal(first[key].numpy(), other[key].numpy())


@pytest.mark.parametrize("xla", [False, True])
def test_an_example_has_the_same_logits_in_any_batch(name: str, xla: bool) -> None:
    network = registry.find(name)(Config())
    compute = tf.function(network.__call__, jit_compile=xla)
    position = 7 * 2**31  # past what 32 bits hold
    whole = compute(IMAGES, tf.constant(position, tf.int64)).numpy()
    for first, last in ((0, 5), (5, 12)):
        part = compute(IMAGES[first:last], tf.constant(position + first, tf.int64))
        np.testing.assert_allclose(part.numpy(), whole[first:last], atol=1e-5)


def test_the_cnn_drops_half_its_units_in_training_only() -> None:
    cnn = registry.find("cnn")(Config())
    # Of equal images: what differs is what is dropped.
    images = tf.repeat(IMAGES[:1], 50, axis=0)
    trained = cnn(images, tf.constant(0, tf.int64)).numpy()
    assert len(np.unique(trained[:, 0])) == 50
    evaluated = cnn(images).numpy()
    np.testing.assert_allclose(evaluated, evaluated[:1].repeat(50, 0), atol=1e-5)
    # On average, dropping changes nothing.
    np.testing.assert_allclose(trained.mean(axis=0), evaluated[0], atol=0.1)
    elsewhere = cnn(images, tf.constant(50, tf.int64)).numpy()
    assert not np.allclose(elsewhere, trained)
    reseeded = registry.find("cnn")(Config(seed=1))
    for mine, theirs in zip(reseeded.variables, cnn.variables):
        mine.assign(theirs)
    assert not np.allclose(reseeded(images, tf.constant(0, tf.int64)), trained)


def test_the_cnn_is_that_of_horovods_example() -> None:
    shapes = {
        name: tuple(variable.shape)
        for name, variable in registry.find("cnn")(Config()).named_variables.items()
    }
    assert shapes == {
        "conv1/weights": (5, 5, 1, 32),
        "conv1/biases": (32,),
        "conv2/weights": (5, 5, 32, 64),
        "conv2/biases": (64,),
        "dense/weights": (3136, 1024),
        "dense/biases": (1024,),
        "softmax_linear/weights": (1024, 10),
        "softmax_linear/biases": (10,),
    }


def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def run(log_dir: str, max_steps: int, **flags: object) -> Trainer:
        config = Config(
            dataset="digits",
            model=name,
            momentum=0.9,
            learning_rate=0.01,
            batch_size=10,
            backward_passes_per_step=2,
            max_steps=max_steps,
            log_dir=str(tmp_path / log_dir),
        )
        trainer = Trainer(config, Cluster(), loading.load(config, Cluster()))
        trainer.run()
        return trainer

    run("resumed", 3)
    resumed, whole = run("resumed", 6), run("whole", 6)
    assert "momentum/softmax_linear/weights" in whole.variables
    for key, variable in whole.variables.items():
        np.testing.assert_array_equal(resumed.variables[key].numpy(), variable.numpy())


class TwoOfAName(model.Network):
    """A network whose variables can't be told apart."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.both = [tf.Variable(1.0), tf.Variable(2.0)]


def test_variables_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two variables are named Variable; give"):
        _ = TwoOfAName(Config()).named_variables


def test_finds_a_network_in_any_module() -> None:
    assert registry.find("tests.test_networks:TwoOfAName") is TwoOfAName


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("rnn", "must be mlp, cnn, or package.module:Class"),
        (":Class", "must be mlp, cnn, or package.module:Class"),
        ("no.such.module:Class", "no.such.module can't be imported"),
        ("tests.test_networks:Missing", "has no Missing, which must be a subclass"),
        ("tests.test_networks:Path", "has something else as Path, which must be a"),
    ],
)
def test_a_wrong_name_is_told(wrong: str, told: str) -> None:
    with pytest.raises(InputError, match=f"--model={wrong}: .*{told}") as caught:
        registry.find(wrong)
    assert "\n" not in str(caught.value)
