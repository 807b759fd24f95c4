"""The optimizer: plain SGD, momentum, and gradients combined over real ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp
from distmnist.distributed.cluster import Cluster
from distmnist.optim.optimizer import DistributedOptimizer
from tests.launching import MPIRUN, run


def test_a_step_is_plain_sgd_at_the_learning_rate_of_the_step() -> None:
    weight = tf.Variable(2.0)
    cluster = Cluster()
    cluster.size = 3  # so that the warm-up shows: rates of 0.5, 1.0, 1.5
    config = Config(learning_rate=0.5, warmup_steps=2, use_adasum=False)
    sgd = DistributedOptimizer(config, cluster, {"weight": weight})
    assert sgd.slots == {}

    @tf.function
    def train() -> tf.Tensor:
        return sgd.minimize(3.0 * weight)[0]

    for expected in (2.0 - 1.5, 2.0 - 1.5 - 3.0, 2.0 - 1.5 - 3.0 - 4.5):
        assert train().numpy().tolist() == [3.0]
        assert float(weight) == pytest.approx(expected)


def test_the_schedule_continues_where_a_run_was_resumed() -> None:
    weight = tf.Variable(2.0)
    cluster = Cluster()
    cluster.size = 3
    config = Config(learning_rate=0.5, warmup_steps=2)
    sgd = DistributedOptimizer(config, cluster, {"weight": weight})
    sgd.resume(Progress(step=1, consumed=300))
    assert float(sgd.learning_rate()) == pytest.approx(1.0)
    sgd.resume(Progress(step=60, consumed=0, ramp=Ramp(50, 0.5, 20)))
    assert float(sgd.learning_rate()) == pytest.approx(1.0)


def test_momentum_is_classical_and_its_slots_exist_before_the_first_step() -> None:
    weight = tf.Variable(2.0)
    sgd = DistributedOptimizer(
        Config(momentum=0.5), Cluster(), {"layer/weight": weight}
    )
    assert list(sgd.slots) == ["momentum/layer/weight"]

    @tf.function
    def train() -> None:
        sgd.minimize(3.0 * weight)

    expected, velocity = 2.0, 0.0
    for _ in range(3):
        train()
        velocity = 0.5 * velocity + 3.0
        expected -= 0.1 * velocity
        assert float(weight) == pytest.approx(expected)
        assert float(sgd.slots["momentum/layer/weight"]) == pytest.approx(velocity)


# One step at a rate of 1 from zero, on two variables whose gradients are the slopes.
STEP = """
import json
from distmnist.distributed.connect import connect
cluster = connect()
import tensorflow as tf
from distmnist.optim.optimizer import DistributedOptimizer
from distmnist.core.config import Config

def step(slopes, steps=1, **flags):
    config = Config(learning_rate=1.0, lr_scaling="none", **flags)
    variables = [tf.Variable([0.0, 0.0]) for _ in slopes]
    named = {str(index): variable for index, variable in enumerate(variables)}
    sgd = DistributedOptimizer(config, cluster, named)
    def train():
        losses = [tf.reduce_sum(v * s) for v, s in zip(variables, slopes)]
        sgd.minimize(tf.add_n(losses))
    train = tf.function(train, autograph=False)
    for _ in range(steps):
        train()
    return [(-v).numpy().tolist() for v in variables]

apart = [1.0, 0.0] if cluster.rank == 0 else [0.0, 1.0]
fine = [1.0 + 2.0**-12, 0.5]
seen = {
    "mean": step([apart, fine]),
    "buckets": step([apart, fine], gradient_buckets=2),
    "fp16": step([apart, fine], fp16_allreduce=True),
    "adasum": step([apart, [1.0, 0.0]], use_adasum=True),
    "momentum": step([apart, fine], steps=2, momentum=0.5),
    "fp16 momentum": step([apart, fine], steps=2, momentum=0.5, fp16_allreduce=True),
    "fp16 momentum buckets": step(
        [apart, fine], steps=2, momentum=0.5, fp16_allreduce=True, gradient_buckets=2
    ),
    "adasum momentum": step([[1.0, 0.0]], steps=2, momentum=0.5, use_adasum=True),
}
if cluster.rank == 0:
    open("seen.json", "w").write(json.dumps(seen))
"""


@pytest.mark.ranks
def test_two_ranks_combine_gradients_as_asked(tmp_path: Path) -> None:
    run((*MPIRUN, 2, sys.executable, "-c", STEP), cwd=tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["mean"] == [[0.5, 0.5], [1.0 + 2.0**-12, 0.5]]
    assert seen["buckets"] == seen["mean"]
    assert seen["fp16"] == [[0.5, 0.5], [1.0, 0.5]]  # float16 has 11 bits
    # Of each variable: orthogonal gradients are added, equal ones averaged.
    assert seen["adasum"][0] == pytest.approx([1.0, 1.0])
    assert seen["adasum"][1] == pytest.approx([1.0, 0.0])
    # A gradient of 1 twice, and half of the first again.
    assert seen["momentum"] == [[1.25, 1.25], [2.5 * (1.0 + 2.0**-12), 1.25]]
    assert seen["fp16 momentum"] == [[1.25, 1.25], [2.5, 1.25]]
    assert seen["fp16 momentum buckets"] == seen["fp16 momentum"]
    assert seen["adasum momentum"][0] == pytest.approx([2.5, 0.0])
