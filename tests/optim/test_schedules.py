"""Learning rate schedules."""

from __future__ import annotations

import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp
from distmnist.optim import schedules


@pytest.mark.parametrize(
    ("scaling", "size", "expected"),
    [("linear", 1, 0.1), ("linear", 4, 0.4), ("sqrt", 4, 0.2), ("none", 4, 0.1)],
)
def test_rate_is_scaled(scaling: str, size: int, expected: float) -> None:
    config = Config(lr_scaling=scaling)
    rate = schedules.learning_rate(config, size, tf.constant(5))
    assert float(rate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (5, 0.25), (10, 0.4), (11, 0.4), (1000, 0.4)]
)
def test_rate_warms_up(step: int, expected: float) -> None:
    config = Config(warmup_steps=10)
    rate = schedules.learning_rate(config, 4, tf.constant(step, tf.int64))
    assert float(rate) == pytest.approx(expected)


def test_rate_follows_the_batches_of_a_step() -> None:
    config = Config(backward_passes_per_step=3)
    assert float(schedules.learning_rate(config, 2, tf.constant(0))) == pytest.approx(
        0.6
    )
    config = Config(use_adasum=True)
    assert float(schedules.learning_rate(config, 2, tf.constant(0))) == pytest.approx(
        0.1
    )


def test_rate_ramps_from_that_of_another_number_of_workers() -> None:
    config = Config(learning_rate=0.1, warmup_steps=0)
    ramp = schedules.resize_ramp(config, 3, Progress(step=50, consumed=0))
    assert ramp == Ramp(50, pytest.approx(0.3), 100)
    for step, expected in ((50, 0.3), (100, 0.2), (150, 0.1), (1000, 0.1)):
        rate = schedules.learning_rate(config, 1, tf.constant(step), ramp)
        assert float(rate) == pytest.approx(expected)
