"""The optimizers, each against its formula in NumPy, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster
from distmnist.optim.optimizer import DistributedOptimizer

STEPS = 50
DECAY = 0.1  # weight decay, where there is any

Array = np.ndarray
# Takes the gradient, weights, learning rate, step (from 1), whether the weights decay,
# and the slots so far; returns the new weights.
Formula = Callable[[Array, Array, float, int, bool, dict[str, Any]], Array]


def sgd(g: Array, w: Array, r: float, _: int, decays: bool, s: dict[str, Any]) -> Array:
    return w - r * (g + DECAY * w * decays)


def momentum(
    g: Array, w: Array, r: float, _: int, decays: bool, s: dict[str, Any]
) -> Array:
    s["v"] = 0.9 * s.get("v", 0) + g
    return w - r * s["v"]


def nesterov(
    g: Array, w: Array, r: float, _: int, decays: bool, s: dict[str, Any]
) -> Array:
    g = g + DECAY * w * decays
    s["v"] = 0.9 * s.get("v", 0) + g
    return w - r * (g + 0.9 * s["v"])


def lars(
    g: Array, w: Array, r: float, _: int, decays: bool, s: dict[str, Any]
) -> Array:
    if decays:
        norm = np.linalg.norm(w)
        r *= 0.001 * norm / (np.linalg.norm(g) + DECAY * norm)
        g = g + DECAY * w
    s["v"] = 0.9 * s.get("v", 0) + r * g
    return w - s["v"]


def adam(
    g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
) -> Array:
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    rate = r * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return w - rate * s["m"] / (np.sqrt(s["v"]) + 1e-7)


def decoupled(formula: Formula) -> Formula:
    def decayed(
        g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
    ) -> Array:
        return formula(g, w - r * DECAY * w * decays, r, t, decays, s)

    return decayed


def lamb(
    g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
) -> Array:
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    update = s["m"] / (1 - 0.9**t) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-7)
    return w - r * np.linalg.norm(w) / np.linalg.norm(update) * update


def adagrad(
    g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
) -> Array:
    s["v"] = s.get("v", 0.1) + g**2
    return w - r * g / np.sqrt(s["v"] + 1e-7)


def lion(
    g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
) -> Array:
    direction = np.sign(0.9 * s.get("m", 0) + 0.1 * g)
    s["m"] = 0.99 * s.get("m", 0) + 0.01 * g
    return w - r * direction


def rmsprop(
    g: Array, w: Array, r: float, t: int, decays: bool, s: dict[str, Any]
) -> Array:
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g**2
    s["m"] = 0.9 * s.get("m", 0) + r * g / np.sqrt(s["v"] + 1e-7)
    return w - s["m"]


CASES: dict[str, tuple[Formula, dict[str, Any]]] = {
    "sgd": (sgd, {"weight_decay": DECAY}),
    "momentum": (momentum, {"momentum": 0.9}),
    "nesterov": (
        nesterov,
        {"momentum": 0.9, "nesterov": True, "weight_decay": DECAY},
    ),
    "lars": (lars, {"optimizer": "lars", "momentum": 0.9, "weight_decay": DECAY}),
    "adam": (adam, {"optimizer": "adam"}),
    "adamw": (decoupled(adam), {"optimizer": "adamw", "weight_decay": DECAY}),
    "lamb": (decoupled(lamb), {"optimizer": "lamb", "weight_decay": DECAY}),
    "adagrad": (decoupled(adagrad), {"optimizer": "adagrad", "weight_decay": DECAY}),
    "lion": (decoupled(lion), {"optimizer": "lion", "weight_decay": DECAY}),
    "rmsprop": (
        decoupled(rmsprop),
        {"optimizer": "rmsprop", "momentum": 0.9, "weight_decay": DECAY},
    ),
    "own": (adam, {"optimizer": "tests.optim.test_update_rules:own"}),
}


def own(config: Config) -> keras.Optimizer:
    return keras.optimizers.Adam(learning_rate=17.0)  # which is replaced


def gradients() -> Iterator[tuple[Array, Array]]:
    """Yields the gradients of a matrix and of biases, step by step."""
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        yield random.normal(size=(4, 3)), random.normal(size=3)


def initial() -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    return random.normal(size=(4, 3)), random.normal(size=3)


class Trained:
    """Two variables, and an optimizer whose gradients are given."""

    def __init__(self, **flags: Any) -> None:
        values = [value.astype(np.float32) for value in initial()]
        names = ("layer/weights", "layer/biases")
        self.variables = dict(zip(names, map(tf.Variable, values)))
        config = Config(learning_rate=0.01, lr_schedule="cosine", max_steps=60, **flags)
        self.optimizer = DistributedOptimizer(config, Cluster(), self.variables)

        def step(*slopes: tf.Tensor) -> None:
            pairs = zip(slopes, self.variables.values())
            self.optimizer.minimize(
                tf.add_n([tf.reduce_sum(slope * v) for slope, v in pairs])
            )

        signature = [tf.TensorSpec(value.shape, tf.float32) for value in values]
        self._step = tf.function(step, signature, autograph=False)

    def train(self, begin: int, end: int) -> list[Array]:
        """Takes the steps in [begin, end); returns the variables."""
        for step, slopes in enumerate(gradients()):
            if begin <= step < end:
                self._step(*(tf.constant(slope, tf.float32) for slope in slopes))
        return [variable.numpy() for variable in self.variables.values()]


@pytest.mark.parametrize("name", CASES)
def test_each_is_its_formula(name: str) -> None:
    formula, flags = CASES[name]
    expected = list(initial())
    slots: list[dict[str, Any]] = [{}, {}]
    for step, slopes in enumerate(gradients()):
        rate = 0.01 * (1 + np.cos(np.pi * step / 60)) / 2
        for i, slope in enumerate(slopes):
            is_matrix = i == 0  # what decays
            expected[i] = formula(
                slope, expected[i], rate, step + 1, is_matrix, slots[i]
            )
    trained = Trained(**flags)
    for value, begin, variable in zip(expected, initial(), trained.train(0, STEPS)):
        assert np.abs(value - begin).max() > 100e-6
        np.testing.assert_allclose(variable, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_slots_and_the_step_are_the_whole_state(name: str) -> None:
    _, flags = CASES[name]
    whole = Trained(**flags)
    expected = whole.train(0, STEPS)
    first, second = Trained(**flags), Trained(**flags)
    first.train(0, 20)
    for mine, theirs in (
        (second.variables, first.variables),
        (second.optimizer.slots, first.optimizer.slots),
    ):
        assert list(mine) == list(theirs)
        for variable, other in zip(mine.values(), theirs.values()):
            variable.assign(other)
    second.optimizer.resume(Progress(step=20, consumed=2000))
    for value, variable in zip(expected, second.train(20, STEPS)):
        assert value.tobytes() == variable.tobytes()


def test_slots_are_named_by_their_variables() -> None:
    _, flags = CASES["adamw"]
    for _ in range(2):  # whatever was created before
        assert list(Trained(**flags).optimizer.slots) == [
            "momentum/layer/weights",
            "velocity/layer/weights",
            "momentum/layer/biases",
            "velocity/layer/biases",
        ]


def test_gradients_are_clipped_by_the_norm_of_all() -> None:
    clipped, reference = Trained(clip_gradient_norm=0.5), list(initial())
    variables = clipped.train(0, 3)
    for step, slopes in enumerate(gradients()):
        if step < 3:
            norm = np.sqrt(sum(np.sum(slope**2) for slope in slopes))
            assert norm > 0.5
            rate = 0.01 * (1 + np.cos(np.pi * step / 60)) / 2
            for i, slope in enumerate(slopes):
                reference[i] = reference[i] - rate * slope * 0.5 / norm
    for value, variable in zip(reference, variables):
        np.testing.assert_allclose(variable, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("which", "expected"),
    [("auto", [True, False]), ("all", [True, True]), ("biases$", [False, True])],
)
def test_what_decays(which: str, expected: list[bool]) -> None:
    trained = Trained(weight_decay=DECAY, weight_decay_on=which)
    plain = Trained()
    for a, b, decays in zip(trained.train(0, 1), plain.train(0, 1), expected):
        assert (a != b).any() == decays


def bad_type(config: Config) -> object:
    return 3


def own_schedule(config: Config) -> keras.Optimizer:
    return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))


def own_average(config: Config) -> keras.Optimizer:
    return keras.optimizers.SGD(0.1, use_ema=True)


def own_accumulation(config: Config) -> keras.Optimizer:
    return keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)


def no_arguments() -> keras.Optimizer:
    return keras.optimizers.SGD(0.1)


no_function = 3


def loss_scale(config: Config) -> keras.Optimizer:
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))


class NoStep(keras.Optimizer):
    """Lacks what each optimizer has."""


def no_step(config: Config) -> keras.Optimizer:
    return NoStep(0.1)


def muon(config: Config) -> keras.Optimizer:
    return keras.optimizers.Muon(0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_arguments", "must be a function of the configuration"),
        ("no_function", "must be a function of the configuration"),
        ("loss_scale", "scales the loss"),
        ("no_step", "a NoStep, which has no update_step"),
        ("muon", "cannot be used with variables of TensorFlow"),
        ("bad_type", "returned a int, not a keras.Optimizer"),
        ("own_schedule", "has a learning rate schedule of its own"),
        ("own_average", "use_ema"),
        ("own_accumulation", "gradient_accumulation_steps"),
        ("missing", "has no missing"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trained(optimizer=f"{__name__}:{name}")


def test_an_expression_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"layer/weights, layer/biases"):
        Trained(weight_decay=DECAY, weight_decay_on="kernel")
