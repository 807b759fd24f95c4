"""Mistakes in the methods of a network, in one line each; Keras models as objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distmnist import Config, create_dataset
from distmnist.core.errors import InputError
from distmnist.models import network, own_methods, registry

DATA = create_dataset((np.ones([40, 4], np.float32), np.arange(40) % 2))
ONE = tf.constant(1.0)


class Linear(network.Network):
    """Is right."""

    def __init__(self, config: Config, s: Any):  # by another name than spec
        super().__init__(config, s)
        self.weights = tf.Variable(tf.zeros([4, 2]), name="weights")

    def __call__(self, features: tf.Tensor, position: Any = None) -> tf.Tensor:
        return features @ self.weights


class FeaturesAlone(Linear):
    """Takes no position."""

    def __call__(self, features: tf.Tensor) -> tf.Tensor:  # type: ignore[override]
        return features @ self.weights


class Replaced(Linear):
    """Has an attribute of a reserved name."""

    def __init__(self, config: Config, spec: Any):
        super().__init__(config, spec)
        self.outputs = 3  # type: ignore[assignment]


def test_a_constructor_may_name_the_spec_as_it_likes() -> None:
    assert registry.create(Config(), DATA.spec, network=Linear).spec is DATA.spec


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (FeaturesAlone, "FeaturesAlone: __call__ takes (features"),
        (Replaced, "its attribute outputs replaces a method"),
    ],
)
def test_what_cannot_be_called_is_named(wrong: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        registry.create(Config(), DATA.spec, network=wrong)
    assert words in str(caught.value)


@pytest.mark.parametrize("loss", [None, 1.5, tf.zeros([8, 2])])
def test_a_loss_is_a_scalar_or_one_for_each_example(loss: Any) -> None:
    with pytest.raises(InputError, match="network x: loss returned"):
        own_methods.check_loss("x", loss, DATA.spec)
    for right in (ONE, tf.zeros([8])):
        own_methods.check_loss("x", right, DATA.spec)


@pytest.mark.parametrize(
    "metrics",
    [None, {"m": ONE}, {"m": (ONE,)}, {"m": (tf.zeros(2), ONE)}, {"loss": (ONE, 1)}],
)
def test_a_metric_is_a_sum_and_a_weight(metrics: Any) -> None:
    with pytest.raises(InputError, match="network x: "):
        own_methods.check_metrics("x", metrics, ("loss",))
    taken = {"m": (ONE, 8), "accuracy": [ONE, ONE]}
    own_methods.check_metrics("x", taken, ("loss",))
    with pytest.raises(InputError, match="accuracy has the name"):
        own_methods.check_metrics("x", taken, ("loss", "accuracy"))


def test_values_of_a_keras_model_that_has_none_yet_come_from_the_seed() -> None:
    def values(seed: int, create: Callable[[], Any]) -> Any:
        created = registry.create(Config(seed=seed), DATA.spec, network=create())
        return next(iter(created.trainable.values())).numpy()

    def model() -> Any:
        return keras.Sequential([keras.layers.Dense(2)])

    def own() -> Any:
        start = keras.initializers.GlorotUniform(seed=5)
        return keras.Sequential([keras.layers.Dense(2, kernel_initializer=start)])

    assert (values(1, model) == values(1, model)).all()
    assert (values(1, model) != values(2, model)).any()
    assert (values(1, own) == values(2, own)).all()


def test_bytes_are_no_indices() -> None:
    tokens = create_dataset((np.ones([40, 3], np.uint8), np.arange(40) % 2))
    layers = [keras.layers.Embedding(9, 2), keras.layers.Flatten()]
    with pytest.raises(InputError, match="takes indices, but"):
        registry.create(Config(), tokens.spec, network=keras.Sequential(layers))
