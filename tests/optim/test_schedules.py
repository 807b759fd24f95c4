"""Learning rate schedules."""

from __future__ import annotations

import math
from typing import Any

import keras
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist.core.config import Config
from distmnist.core.optimizer_options import LR_SCHEDULES
from distmnist.core.progress import Progress, Ramp
from distmnist.optim import schedules
from distmnist.optim.schedules import Schedule


def rate(config: Config, size: int, step: int, ramp: Ramp | None = None) -> float:
    schedule = Schedule(config, size)
    schedule.resume(Progress(step=step, consumed=0, ramp=ramp))
    return float(schedule(tf.constant(step, tf.int64)))


@pytest.mark.parametrize(
    ("scaling", "size", "expected"),
    [("linear", 1, 0.1), ("linear", 4, 0.4), ("sqrt", 4, 0.2), ("none", 4, 0.1)],
)
def test_rate_is_scaled(scaling: str, size: int, expected: float) -> None:
    assert rate(Config(lr_scaling=scaling), size, 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (5, 0.25), (10, 0.4), (11, 0.4), (1000, 0.4)]
)
def test_rate_warms_up(step: int, expected: float) -> None:
    assert rate(Config(warmup_steps=10), 4, step) == pytest.approx(expected)


def test_rate_follows_the_batches_of_a_step() -> None:
    config = Config(backward_passes_per_step=3)
    assert rate(config, 2, 0) == pytest.approx(0.6)
    assert rate(Config(use_adasum=True), 2, 0) == pytest.approx(0.1)


def test_rate_ramps_from_that_of_another_number_of_workers() -> None:
    config = Config(learning_rate=0.1, warmup_steps=0)
    ramp = schedules.resize_ramp(config, 3, Progress(step=50, consumed=0))
    assert ramp == Ramp(50, pytest.approx(0.3), 100)
    for step, expected in ((50, 0.3), (100, 0.2), (150, 0.1), (1000, 0.1)):
        assert rate(config, 1, step, ramp) == pytest.approx(expected)


# Keras' own, of the same flags.
KERAS = {
    "cosine": lambda: keras.optimizers.schedules.CosineDecay(0.2, 80, alpha=0.25),
    "linear": lambda: keras.optimizers.schedules.PolynomialDecay(0.2, 80, 0.05),
    "polynomial": lambda: keras.optimizers.schedules.PolynomialDecay(
        0.2, 80, 0.05, power=3
    ),
    "exponential": lambda: keras.optimizers.schedules.ExponentialDecay(0.2, 80, 0.3),
    "step": lambda: keras.optimizers.schedules.PiecewiseConstantDecay(
        [23, 47, 75], [0.2, 0.2 * 0.5, 0.2 * 0.25, 0.2 * 0.125]
    ),
}


@pytest.mark.parametrize("name", KERAS)
def test_each_is_that_of_keras(name: str) -> None:
    theirs = KERAS[name]()
    more: dict[str, dict[str, Any]] = {
        "step": {"lr_drops": (0.3, 0.6, 0.95), "lr_decay_rate": 0.5},
        "exponential": {"lr_min": 0.05, "lr_decay_rate": 0.3},
        "polynomial": {"lr_min": 0.025, "lr_power": 3.0},
    }
    config = Config(
        learning_rate=0.1,
        max_steps=80,
        lr_schedule=name,
        lr_scaling="linear",
        **more.get(name, {"lr_min": 0.025}),  # scaled by two
    )
    for step in range(90):
        least = 0.1 if name == "exponential" else 0.0
        expected = max(float(theirs(step)), least)
        if name == "exponential" and step > 80:
            expected = least  # Keras' goes on to fall
        assert rate(config, 2, step) == pytest.approx(expected, rel=1e-6), step


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_a_decay_in_epochs_is_at_the_same_place_with_other_workers(name: str) -> None:
    power = {"lr_power": 1.5} if name == "polynomial" else {}
    config = Config(
        lr_schedule=name, num_epochs=4, batch_size=50, lr_scaling="none", **power
    )
    alone = Schedule(config, 1, train_size=1000)
    changed = Schedule(config, 2, train_size=1000)
    # One worker took 30 steps of 50 examples; two go on in steps of 100.
    changed.resume(Progress(step=30, consumed=1500))
    for more in range(25):
        expected = float(alone(tf.constant(30 + 2 * more)))
        assert float(changed(tf.constant(30 + more))) == pytest.approx(expected)


def test_the_warm_up_rises_to_the_decayed_rate() -> None:
    config = Config(lr_schedule="linear", max_steps=100, warmup_steps=10)
    for step in (0, 3, 10, 55):
        target = 0.4 * (1 - step / 100)
        expected = 0.1 + (target - 0.1) * min(1, step / 10)
        assert rate(config, 4, step) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LR_SCHEDULES),
    st.integers(1, 2**40),
    st.integers(0, 2**40),
    st.floats(0, 0.1),
)
def test_a_decay_never_rises_nor_leaves_its_range(
    name: str, length: int, step: int, least: float
) -> None:
    length = min(length, 2**32)
    flags: dict[str, Any] = {"lr_decay_steps": length, "lr_min": least}
    if name == "constant":
        flags = {}
    config = Config(lr_schedule=name, **flags)
    now, later = rate(config, 1, step), rate(config, 1, step + 1 + length // 7)
    tiny = 1e-7
    assert (0 if name == "constant" else least) - tiny <= later <= now + tiny
    assert now <= 0.1 + tiny
    assert math.isfinite(now)
