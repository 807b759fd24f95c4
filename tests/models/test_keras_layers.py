"""Keras layers as a network, or in one: names, losses, dropout, what is refused."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models import registry
from distmnist.models.network import Network

SPEC = DatasetSpec((4,), 3, feature_dtype="float32")
FEATURES = tf.random.stateless_uniform([12, 4], (1, 2))
layers = keras.layers


class TwoRanks(Cluster):
    """Two ranks, as far as a network asks before training."""

    size = 2


def create(*network: Any, spec: DatasetSpec = SPEC, **kwargs: Any) -> Network:
    """Returns the network of some layers."""
    model = keras.Sequential(list(network))
    return registry.create(Config(**kwargs), spec, network=model)


def training(network: Network, features: tf.Tensor, position: int) -> Any:
    return network.outputs(features, tf.constant(position, tf.int64)).numpy()


def test_names_are_the_same_in_each_run() -> None:
    def names() -> list[str]:
        return list(
            create(
                layers.Dense(5), layers.BatchNormalization(), layers.Dense(3)
            ).named_variables
        )

    assert names() == names()
    assert names() == [
        *("dense/kernel", "dense/bias"),
        *(
            f"batch_normalization/{name}"
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        ),
        *("dense_1/kernel", "dense_1/bias"),
    ]


def test_layers_of_one_name_in_two_models_are_kept_apart() -> None:
    def block() -> keras.Model:
        inputs = keras.Input([4])
        return keras.Model(inputs, layers.Dense(4, name="same")(inputs))

    inputs = keras.Input([4])
    outputs = layers.Dense(3)(block()(block()(inputs)))
    model = keras.Model(inputs, outputs)
    network = registry.create(Config(), SPEC, network=model)
    assert len(network.named_variables) == len(model.weights) == 6
    assert {id(v) for v in network.named_variables.values()} == {
        id(weight.value) for weight in model.weights
    }


def test_layers_are_found_wherever_they_are_attributes() -> None:
    class Own(Network):
        def __init__(self, config: Config, spec: DatasetSpec):
            super().__init__(config, spec)
            self.parts = {"first": [layers.Dense(4)], "second": layers.Dense(3)}
            self.scale = tf.Variable(tf.ones([4]), name="scale")

        def __call__(self, features: tf.Tensor, position: Any = None) -> Any:
            units = self.parts["first"][0](features) * self.scale
            return self.parts["second"](units)

    network = registry.create(Config(), SPEC, network=Own)
    assert list(network.trainable) == [
        *("scale", "parts/first/0/kernel", "parts/first/0/bias"),
        *("parts/second/kernel", "parts/second/bias"),
    ]


def test_initial_values_depend_on_the_seed_alone() -> None:
    def kernel(seed: int) -> Any:
        model = registry.create(
            Config(seed=seed), SPEC, network=lambda: keras.Sequential([layers.Dense(3)])
        )
        return model.named_variables["dense/kernel"].numpy()

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert not np.array_equal(kernel(1), kernel(2))


def test_frozen_layers_are_saved_and_not_trained() -> None:
    network = create(layers.Dense(4, trainable=False), layers.Dense(3))
    assert list(network.trainable) == ["dense_1/kernel", "dense_1/bias"]
    assert len(network.named_variables) == 4


def test_regularization_is_added_to_the_loss_of_training() -> None:
    targets = tf.zeros([12], tf.int32)
    plain, regularized = (
        create(layers.Dense(3, kernel_initializer="ones", kernel_regularizer=kind))
        for kind in (None, "l2")
    )
    position = tf.constant(0, tf.int64)
    difference = regularized.training_loss(FEATURES, targets, position)
    difference -= plain.training_loss(FEATURES, targets, position)
    assert float(difference) == pytest.approx(0.01 * 12, rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "dropped"),
    [
        ((4,), layers.Dropout(0.5)),
        ((6, 4), layers.SpatialDropout1D(0.5)),
        ((6, 4), layers.Dropout(0.5, noise_shape=(None, 1, 4))),
        ((6, 4), layers.TimeDistributed(layers.Dropout(0.5))),
    ],
)
def test_an_example_has_the_same_dropout_in_any_batch(
    shape: tuple[int, ...], dropped: Any
) -> None:
    spec = DatasetSpec(shape, 3, feature_dtype="float32")
    network = create(dropped, layers.Flatten(), layers.Dense(3), spec=spec)
    features = tf.ones([12, *shape])
    whole = training(network, features, 7)
    assert len(np.unique(whole[:, 0])) > 3
    parts = [training(network, features[:5], 7), training(network, features[5:], 12)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    inference = network.outputs(features).numpy()
    np.testing.assert_allclose(inference, inference[:1].repeat(12, 0), atol=1e-6)


def test_several_rows_of_an_example_have_dropout_of_their_own() -> None:
    class Own(Network):
        def __init__(self, config: Config, spec: DatasetSpec):
            super().__init__(config, spec)
            self.dropout, self.last = layers.Dropout(0.5), layers.Dense(3)

        def __call__(self, features: tf.Tensor, position: Any = None) -> Any:
            rows = tf.reshape(features, [-1, 2])
            rows = self.dropout(rows, training=position is not None)
            return self.last(tf.reshape(rows, [-1, 4]))

    network = registry.create(Config(), SPEC, network=Own)
    whole = training(network, tf.ones([12, 4]), 6)
    parts = [training(network, tf.ones([6, 4]), place) for place in (6, 12)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_each_call_of_a_shared_layer_drops_others() -> None:
    shared = layers.Dropout(0.5)
    inputs = keras.Input([4])
    outputs = layers.Subtract()([shared(inputs), shared(inputs)])
    model = keras.Model(inputs, layers.Dense(3, kernel_initializer="ones")(outputs))
    network = registry.create(Config(), SPEC, network=model)
    assert training(network, tf.ones([12, 4]), 0).any()
    again = training(network, tf.ones([12, 4]), 0)
    np.testing.assert_array_equal(again, training(network, tf.ones([12, 4]), 0))


def test_everything_may_be_dropped() -> None:
    network = create(layers.Dropout(1.0), layers.Dense(3))
    assert not training(network, FEATURES, 0).any()


def renormalized() -> layers.Layer:
    layer = layers.BatchNormalization()
    layer.renorm = True  # an argument, but in Keras 3.12
    return layer


@pytest.mark.parametrize(
    ("network", "flags", "message"),
    [
        ([layers.Dense(3, activation="softmax")], {}, "returns probabilities"),
        ([layers.Dense(3), layers.Softmax()], {}, "softmax: returns probabilities"),
        ([layers.Dense(3, dtype="float64")], {}, "dense/kernel is of type float64"),
        ([layers.Flatten()], {}, "has no trainable variables"),
        (
            [renormalized(), layers.Dense(3)],
            {},
            "does not work with renorm=True; give --batch_norm=local",
        ),
        (
            [layers.BatchNormalization(), layers.Dense(3)],
            {"backward_passes_per_step": 2},
            "does not work with --backward_passes_per_step",
        ),
        (
            [layers.BatchNormalization(), layers.Dense(3)],
            {"xla": True},
            "does not work with --xla",
        ),
    ],
)
def test_what_cannot_be_rank_invariant_is_refused(
    network: list[Any], flags: dict[str, Any], message: str
) -> None:
    model = keras.Sequential(network)
    with pytest.raises(InputError, match=message) as caught:
        registry.create(Config(**flags), SPEC, TwoRanks(), model)
    assert "\n" not in str(caught.value)


def test_states_of_batches_are_refused() -> None:
    spec = DatasetSpec((5, 4), 3, feature_dtype="float32")
    with pytest.raises(InputError, match=r"lstm\w*: keeps states .*stateful=True"):
        create(layers.LSTM(3, stateful=True), spec=spec)


def test_local_moving_averages_are_those_to_be_averaged() -> None:
    model = keras.Sequential([layers.BatchNormalization(), layers.Dense(3)])
    config = Config(batch_norm="local", backward_passes_per_step=2)
    network = registry.create(config, SPEC, TwoRanks(), model)
    assert len(network.statistics) == 2
    assert create(layers.BatchNormalization(), layers.Dense(3)).statistics == []


@pytest.mark.parametrize("kind", ["a list", "a dict"])
def test_several_outputs_are_refused(kind: str) -> None:
    inputs = keras.Input([4])
    outputs = layers.Dense(3)(inputs)
    several = [outputs, outputs] if kind == "a list" else {"one": outputs}
    model = keras.Model(inputs, several)
    network = registry.create(Config(), SPEC, network=model)
    with pytest.raises(InputError, match=f"returned {kind}; return one tensor"):
        network.outputs(FEATURES)


def test_a_layers_own_error_is_one_line() -> None:
    spec = DatasetSpec((4,), 3, feature_dtype="float32")
    with pytest.raises(InputError, match=r"^Keras model \w+: .*ndim") as caught:
        create(layers.Conv2D(3, 3), spec=spec)
    assert "\n" not in str(caught.value)
