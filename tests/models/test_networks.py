"""What holds for each network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.data.dataset import DatasetSpec
from distmnist.data.sources.mnist import SPEC
from distmnist.distributed.cluster import Cluster
from distmnist.models import losses, registry
from distmnist.models.network import Network
from distmnist.trainer import Trainer

COLOURS = DatasetSpec((9, 6, 3), 4, ("red", "green", "blue", "gray"))
EXAMPLES = {
    spec: tf.random.stateless_uniform([12, spec.num_features], (1, 2))
    for spec in (SPEC, COLOURS)
}
# SHA-256 of the names and the initial values of all variables, with the defaults and
# seed 126, at the commit before networks took their shapes from a spec.
INITIAL_VALUES = {
    "mlp": "65253fb2806eb38fb0483c96778344c9be29987245b08df3fb75e9cd763704e7",
    "cnn": "bae5c8f9e9de9c1375226fbc0d34ac7ca939ca80389b66a3a628a6337ad19a37",
}


@pytest.fixture(params=["mlp", "cnn"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[SPEC, COLOURS], ids=["mnist", "colours"])
def spec(request: pytest.FixtureRequest) -> DatasetSpec:
    return request.param  # type: ignore[no-any-return]


def create(name: str, spec: DatasetSpec = SPEC, seed: int = 0) -> Network:
    return registry.create(name, Config(seed=seed), spec)


def test_initial_values_do_not_change_between_versions(name: str) -> None:
    """A run is reproducible by a later version, and its checkpoints resume."""
    sha256 = hashlib.sha256()
    for key, variable in create(name, seed=126).named_variables.items():
        sha256.update(key.encode())
        sha256.update(variable.numpy().tobytes())
    assert sha256.hexdigest() == INITIAL_VALUES[name]


def test_initial_values_depend_on_the_seed_alone(name: str, spec: DatasetSpec) -> None:
    first, same, other = (
        create(name, spec, seed).named_variables for seed in (1, 1, 2)
    )
    for key in first:
        np.testing.assert_array_equal(first[key].numpy(), same[key].numpy())
        if key.endswith("weights"):
            assert not np.array_equal(first[key].numpy(), other[key].numpy())


@pytest.mark.parametrize("xla", [False, True])
def test_an_example_has_the_same_logits_in_any_batch(
    name: str, spec: DatasetSpec, xla: bool
) -> None:
    features = EXAMPLES[spec]
    compute = tf.function(create(name, spec).__call__, jit_compile=xla)
    position = 7 * 2**31  # needs more than 32 bits
    whole = compute(features, tf.constant(position, tf.int64)).numpy()
    assert whole.shape == (12, spec.num_classes)
    for first, last in ((0, 5), (5, 12)):
        part = compute(features[first:last], tf.constant(position + first, tf.int64))
        np.testing.assert_allclose(part.numpy(), whole[first:last], atol=1e-5)


def test_every_variable_has_a_gradient(name: str, spec: DatasetSpec) -> None:
    network = create(name, spec)
    labels = tf.range(12) % spec.num_classes
    with tf.GradientTape() as tape:
        loss = losses.loss(network(EXAMPLES[spec], tf.constant(0, tf.int64)), labels)
    for gradient in tape.gradient(loss, network.trainable_variables):
        assert float(tf.norm(gradient)) > 0


def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def run(log_dir: str, max_steps: int) -> Trainer:
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


def test_the_cnn_drops_half_its_units_in_training_only() -> None:
    cnn = create("cnn", seed=126)
    # Equal images, so that logits differ only by dropout.
    images = tf.repeat(EXAMPLES[SPEC][:1], 50, axis=0)
    training = cnn(images, tf.constant(0, tf.int64)).numpy()
    assert len(np.unique(training[:, 0])) == 50
    inference = cnn(images).numpy()
    np.testing.assert_allclose(inference, inference[:1].repeat(50, 0), atol=1e-5)
    # Dropout keeps the mean.
    np.testing.assert_allclose(training.mean(axis=0), inference[0], atol=0.1)
    elsewhere = cnn(images, tf.constant(50, tf.int64)).numpy()
    assert not np.allclose(elsewhere, training)
    reseeded = create("cnn", seed=1)
    for mine, theirs in zip(reseeded.variables, cnn.variables):
        mine.assign(theirs)
    assert not np.allclose(reseeded(images, tf.constant(0, tf.int64)), training)


@pytest.mark.parametrize(
    ("spec", "inputs", "channels"), [(SPEC, 3136, 1), (COLOURS, 128, 3)]
)
def test_the_cnn_is_that_of_horovods_example(
    spec: DatasetSpec, inputs: int, channels: int
) -> None:
    variables = create("cnn", spec).named_variables
    assert {name: tuple(value.shape) for name, value in variables.items()} == {
        "conv1/weights": (5, 5, channels, 32),
        "conv1/biases": (32,),
        "conv2/weights": (5, 5, 32, 64),
        "conv2/biases": (64,),
        "dense/weights": (inputs, 1024),
        "dense/biases": (1024,),
        "softmax_linear/weights": (1024, spec.num_classes),
        "softmax_linear/biases": (spec.num_classes,),
    }


@pytest.mark.parametrize("shape", [(), (784,), (3, 28, 1), (28, 3, 1), (28, 28)])
def test_the_cnn_refuses_what_is_not_an_image(shape: tuple[int, ...]) -> None:
    spec = DatasetSpec(shape, 2, ("no", "yes"))
    shown = "x".join(map(str, shape))
    for use in (create, lambda *_: registry.find("cnn").step_flops(Config(), spec)):
        with pytest.raises(InputError, match=rf"shape {shown}; use --model=mlp$"):
            use("cnn", spec)
    assert create("mlp", spec).named_variables
