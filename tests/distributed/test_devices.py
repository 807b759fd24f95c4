"""TensorFlow's devices: GPU by local rank, CPU threads by work."""

from __future__ import annotations

import math
import sys

import pytest
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.sources.mnist import SPEC
from distmnist.distributed import devices
from distmnist.models.mlp import Mlp
from tests.launching import run


@pytest.mark.parametrize(
    ("cores", "batch_size", "expected"), [(2, 100, 1), (64, 1000, 6), (2, 1000, 2)]
)
def test_threads_follow_the_work_of_a_step(
    cores: int, batch_size: int, expected: int
) -> None:
    flops = Mlp.step_flops(Config(batch_size=batch_size), SPEC)
    assert devices.intra_op_threads(cores, flops) == expected
    assert devices.intra_op_threads(cores, math.inf) == cores


def test_each_rank_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:

    gpus, grown, visible = ["gpu0", "gpu1"], [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda *call: grown.append(call)
    )
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *call: visible.append(call)
    )
    exact: list[bool] = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: exact.append(True)
    )
    for local_rank in (0, 1, 2):
        devices.configure_tensorflow(local_rank, 3, 3, 0)
    assert visible == [("gpu0", "GPU"), ("gpu1", "GPU"), ("gpu0", "GPU")]
    assert grown == [("gpu0", True), ("gpu1", True)] * 3
    assert exact == [True] * 3
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "0")
    devices.configure_tensorflow(0, 1, 1, 0)
    assert exact == [True] * 3


def test_a_failing_import_shows_the_output_of_the_libraries() -> None:
    program = (
        "import os, sys; from distmnist.distributed import devices\n"
        "class Broken:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'tensorflow': os.write(2, b'a clue'); raise ImportError\n"
        "sys.meta_path.insert(0, Broken())\n"
        "devices.import_tensorflow()"
    )
    assert "a clue" in run((sys.executable, "-c", program), status=1).stderr
