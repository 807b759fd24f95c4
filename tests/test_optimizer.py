"""The learning rate, and plain SGD."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.distributed.cluster import Cluster
from distmnist.optim import optimizer
from tests.launching import MPIRUN, run


@pytest.mark.parametrize(
    ("scaling", "size", "expected"),
    [("linear", 1, 0.1), ("linear", 4, 0.4), ("sqrt", 4, 0.2), ("none", 4, 0.1)],
)
def test_rate_is_scaled(scaling: str, size: int, expected: float) -> None:
    config = Config(lr_scaling=scaling)
    rate = optimizer.learning_rate(config, size, tf.constant(5))
    assert float(rate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (5, 0.25), (10, 0.4), (11, 0.4), (1000, 0.4)]
)
def test_rate_warms_up(step: int, expected: float) -> None:
    config = Config(warmup_steps=10)
    rate = optimizer.learning_rate(config, 4, tf.constant(step, tf.int64))
    assert float(rate) == pytest.approx(expected)


def test_a_step_is_plain_sgd_at_the_rate_of_the_step() -> None:
    step = tf.Variable(0, dtype=tf.int64)
    weight = tf.Variable(2.0)
    config = Config(learning_rate=0.5, warmup_steps=2)
    cluster = Cluster()
    cluster.size = 3  # so that the warm-up shows: rates of 0.5, 1.0, 1.5
    sgd, slots = optimizer.create(
        config,
        cluster,
        lambda: optimizer.learning_rate(config, cluster.size, step),
        {"weight": weight},
    )
    assert slots == {}

    @tf.function
    def train() -> None:
        sgd.minimize(3.0 * weight, step, [weight])

    for expected in (2.0 - 1.5, 2.0 - 1.5 - 3.0, 2.0 - 1.5 - 3.0 - 4.5):
        train()
        assert float(weight) == pytest.approx(expected)
    assert int(step) == 3


def test_momentum_is_classical_and_its_variables_are_there_at_once() -> None:
    step = tf.Variable(0, dtype=tf.int64)
    weight = tf.Variable(2.0)
    config = Config(momentum=0.5)
    sgd, slots = optimizer.create(
        config, Cluster(), lambda: tf.constant(0.1), {"layer/weight": weight}
    )
    assert list(slots) == ["momentum/layer/weight"]

    @tf.function
    def train() -> None:
        sgd.minimize(3.0 * weight, step, [weight])

    expected, velocity = 2.0, 0.0
    for _ in range(3):
        train()
        velocity = 0.5 * velocity + 3.0
        expected -= 0.1 * velocity
        assert float(weight) == pytest.approx(expected)
        assert float(slots["momentum/layer/weight"]) == pytest.approx(velocity)


def test_accumulated_loss_is_that_of_one_batch() -> None:
    weight = tf.Variable(tf.random.stateless_normal([5, 1], (1, 2)))
    offset = tf.Variable([0.5])
    examples = tf.random.stateless_normal([12, 5], (3, 4))

    def loss_of(batch: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(tf.matmul(batch, weight) + offset))

    @tf.function
    def both() -> tuple[tf.Tensor, ...]:
        variables = [weight, offset]
        batches = tf.reshape(examples, [3, 4, 5])
        several = optimizer.accumulated_loss(
            lambda index: loss_of(batches[index]), 3, variables
        )
        one = loss_of(examples)
        return (
            *(several, one),
            *tf.gradients(2.0 * several, variables),
            *tf.gradients(2.0 * one, variables),
        )

    several, one, weight_several, offset_several, weight_one, offset_one = both()
    assert float(several) == pytest.approx(float(one), rel=1e-5)
    assert weight_several.numpy() == pytest.approx(weight_one.numpy(), rel=1e-5)
    assert offset_several.numpy() == pytest.approx(offset_one.numpy(), rel=1e-5)


def test_rate_follows_the_batches_of_a_step() -> None:
    config = Config(backward_passes_per_step=3)
    assert float(optimizer.learning_rate(config, 2, tf.constant(0))) == pytest.approx(
        0.6
    )
    config = Config(use_adasum=True)
    assert float(optimizer.learning_rate(config, 2, tf.constant(0))) == pytest.approx(
        0.1
    )


# One step at a rate of 1 from zero, on two variables whose gradients are the slopes.
STEP = """
import json
from distmnist.distributed import cluster
workers = cluster.connect()
import tensorflow as tf
from distmnist.optim import optimizer
from distmnist.core.config import Config

def step(slopes, steps=1, **flags):
    config = Config(learning_rate=1.0, lr_scaling="none", **flags)
    variables = [tf.Variable([0.0, 0.0]) for _ in slopes]
    named = {str(index): variable for index, variable in enumerate(variables)}
    sgd, _ = optimizer.create(config, workers, lambda: tf.constant(1.0), named)
    def train():
        losses = [tf.reduce_sum(v * s) for v, s in zip(variables, slopes)]
        sgd.minimize(tf.add_n(losses), None, variables)
    train = tf.function(train, autograph=False)
    for _ in range(steps):
        train()
    return [(-v).numpy().tolist() for v in variables]

apart = [1.0, 0.0] if workers.rank == 0 else [0.0, 1.0]
fine = [1.0 + 2.0**-12, 0.5]
seen = {
    "mean": step([apart, fine]),
    "fp16": step([apart, fine], fp16_allreduce=True),
    "adasum": step([apart, [1.0, 0.0]], use_adasum=True),
    "momentum": step([apart, fine], steps=2, momentum=0.5),
    "fp16 momentum": step([apart, fine], steps=2, momentum=0.5, fp16_allreduce=True),
    "adasum momentum": step([[1.0, 0.0]], steps=2, momentum=0.5, use_adasum=True),
}
if workers.rank == 0:
    open("seen.json", "w").write(json.dumps(seen))
"""


@pytest.mark.ranks
def test_two_ranks_combine_gradients_as_asked(tmp_path: Path) -> None:
    run((*MPIRUN, 2, sys.executable, "-c", STEP), cwd=tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["mean"] == [[0.5, 0.5], [1.0 + 2.0**-12, 0.5]]
    assert seen["fp16"] == [[0.5, 0.5], [1.0, 0.5]]  # float16 has 11 bits
    # Of each variable: orthogonal gradients are added, equal ones averaged.
    assert seen["adasum"][0] == pytest.approx([1.0, 1.0])
    assert seen["adasum"][1] == pytest.approx([1.0, 0.0])
    # A gradient of 1 twice, and half of the first again.
    assert seen["momentum"] == [[1.25, 1.25], [2.5 * (1.0 + 2.0**-12), 1.25]]
    assert seen["fp16 momentum"] == [[1.25, 1.25], [2.5, 1.25]]
    assert seen["adasum momentum"][0] == pytest.approx([2.5, 0.0])
