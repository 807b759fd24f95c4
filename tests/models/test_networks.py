"""What holds for each network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.data.sources.mnist import SPEC
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models import losses, registry
from distmnist.models.network import Network
from distmnist.trainer import Trainer

COLORS = DatasetSpec((9, 6, 3), 4, ("red", "green", "blue", "gray"))
EXAMPLES = {
    spec: tf.random.stateless_uniform([12, *spec.feature_shape], (1, 2))
    for spec in (SPEC, COLORS)
}
# First and last initial weight of each layer in version 0.1.0, with seed 126.
INITIAL_WEIGHTS = {
    "mlp": {
        "hidden1": (0.0008804070530459285, 0.006655665580183268),
        "hidden2": (-0.012088405899703503, 0.11456111818552017),
        "softmax_linear": (-0.0783735141158104, -0.05921364575624466),
    },
    "cnn": {
        "conv1": (0.004930279683321714, 0.11554833501577377),
        "conv2": (-0.004835362546145916, -0.026599109172821045),
        "dense": (-0.007916920818388462, 0.01690373755991459),
        "softmax_linear": (0.019870750606060028, -0.0012873188825324178),
    },
}


@pytest.fixture(params=["mlp", "cnn"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[SPEC, COLORS], ids=["mnist", "colors"])
def spec(request: pytest.FixtureRequest) -> DatasetSpec:
    return request.param  # type: ignore[no-any-return]


def create(name: str, spec: DatasetSpec = SPEC, seed: int = 0) -> Network:
    return registry.create(Config(model=name, seed=seed), spec)


def test_initial_values_do_not_change_between_versions(name: str) -> None:
    """A run is reproducible by a later version, and its checkpoints resume."""
    variables = create(name, seed=126).named_variables
    layers = INITIAL_WEIGHTS[name]
    assert list(variables) == [
        f"{layer}/{kind}" for layer in layers for kind in ("weights", "biases")
    ]
    for layer, expected in layers.items():
        weights = variables[f"{layer}/weights"].numpy().ravel()
        # Not bit for bit: that depends on the processor's mathematical functions.
        assert weights[[0, -1]] == pytest.approx(expected, rel=1e-5)
        assert not variables[f"{layer}/biases"].numpy().any()


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
    ("spec", "inputs", "channels"), [(SPEC, 3136, 1), (COLORS, 128, 3)]
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
