"""What is refused when the graph of training is traced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.errors import InputError
from distmnist.models import graph_checks

OWN = tf.Variable(1.0, name="own")
FROZEN = tf.Variable(1.0, trainable=False, name="frozen")
HIDDEN = tf.Variable(1.0, name="hidden")
HIDDEN_FROZEN = tf.Variable(1.0, trainable=False, name="hidden_frozen")


def trace(function: Callable[[tf.Tensor], Any], generators: Any = None) -> None:
    """Traces a function as that of a network with two variables."""

    def checked(x: tf.Tensor) -> tf.Tensor:
        variables = {"own": OWN, "frozen": FROZEN}
        with graph_checks.rank_invariant("Net", variables, generators or {}):
            return function(x)

    tf.function(checked).get_concrete_function(tf.TensorSpec([2], tf.float32))


@tf.function
def noise(x: tf.Tensor) -> tf.Tensor:
    return x + tf.random.normal([2])


def in_a_loop(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda x: x[0] < 1, lambda x: [noise(x)], [x])[0]


def change(variable: tf.Variable) -> Callable[[tf.Tensor], Any]:
    return lambda x: x * variable.assign_add(1.0)


RANDOM = {
    "normal": lambda x: x + tf.random.normal([2]),
    "dropout": lambda x: tf.nn.dropout(x, 0.5),
    "shuffle": tf.random.shuffle,
    "integers": lambda x: tf.random.uniform([2], maxval=5, dtype=tf.int32),
    "categorical": lambda x: tf.random.categorical(x[None], 1),
    "flip": lambda x: tf.image.random_flip_left_right(x[None, :, None]),
    "function": noise,
    "condition": lambda x: tf.cond(x[0] > 0, lambda: noise(x), lambda: x),
    "loop": in_a_loop,
    "map": lambda x: tf.map_fn(lambda y: y + tf.random.normal([]), x),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_that_count_calls_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="draws other random numbers") as caught:
        trace(RANDOM[name])
    place = Path(__file__).name
    assert f"{place}:" in str(caught.value)


def test_stateless_random_numbers_pass() -> None:
    trace(lambda x: x + tf.random.stateless_normal([2], [1, 2]))
    trace(lambda x: tf.nn.experimental.stateless_dropout(x, 0.5, [1, 2]))


def test_own_variables_pass_also_in_functions() -> None:
    @tf.function
    def scaled(x: tf.Tensor) -> tf.Tensor:
        return x * OWN + FROZEN.assign_add(1.0)

    trace(scaled)
    trace(lambda x: tf.cond(x[0] > 0, lambda: scaled(x), lambda: x))


@pytest.mark.parametrize("variable", [HIDDEN, HIDDEN_FROZEN], ids=["hidden", "frozen"])
def test_a_hidden_variable_is_refused(variable: tf.Variable) -> None:
    name = variable.name.partition(":")[0]
    message = f"network Net: computes with the variable {name}, which is not one of"
    for function in (
        lambda x: x * variable,
        lambda x: tf.cond(x[0] > 0, lambda: x * variable, lambda: x),
        tf.function(lambda x: x * variable),
    ):
        with pytest.raises(InputError, match=message):
            trace(function)
    with pytest.raises(InputError, match=r"test_graph_checks.py:\d+: creates or chang"):
        trace(change(variable))


def test_a_generators_state_is_named_by_its_layer() -> None:
    generators = {id(HIDDEN_FROZEN.handle): "noise_3"}
    with pytest.raises(InputError, match="Keras layer noise_3: its random numbers"):
        trace(change(HIDDEN_FROZEN), generators)


def test_variables_that_were_read_before_are_none_of_the_networks_business() -> None:
    @tf.function
    def step(x: tf.Tensor) -> tf.Tensor:
        rate = x * HIDDEN
        with graph_checks.rank_invariant("Net", {"own": OWN}, {}):
            return rate * OWN

    assert np.isfinite(step(tf.ones([2])).numpy()).all()


def test_nothing_is_checked_outside_a_graph() -> None:
    with graph_checks.rank_invariant("Net", {}, {}):
        assert tf.random.normal([2]).shape == [2]
