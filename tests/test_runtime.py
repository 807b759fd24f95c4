"""Settings of the process: chosen where the user chose nothing."""

from __future__ import annotations

import gc
import math
import os
import sys

import pytest

from distmnist.core.config import Config
from distmnist.distributed import process
from distmnist.models import model
from tests.launching import run

NAMES = (
    "TF_CPP_MIN_LOG_LEVEL",
    "OMPI_MCA_mpi_yield_when_idle",
    "HOROVOD_CYCLE_TIME",
    "OMPI_MCA_btl",
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing is chosen; changes to it are undone."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)


@pytest.mark.usefixtures("environment")
def test_ranks_yield_where_they_share_cores() -> None:
    process.prepare_environment(local_rank=0, local_size=3)
    assert "OMPI_MCA_mpi_yield_when_idle" not in os.environ
    process.prepare_environment(local_rank=0, local_size=4)
    assert os.environ[NAMES[1]] == "1"


@pytest.mark.usefixtures("environment")
def test_keeps_what_the_user_has_chosen() -> None:
    for name in NAMES:
        os.environ[name] = "mine"
    process.prepare_environment(local_rank=0, local_size=8, one_host=True)
    assert [os.environ[name] for name in NAMES] == ["mine"] * len(NAMES)


@pytest.mark.usefixtures("environment")
def test_mpi_keeps_its_networks_where_there_are_other_hosts() -> None:
    process.prepare_environment(local_rank=0, local_size=2)
    assert NAMES[3] not in os.environ
    process.prepare_environment(local_rank=0, local_size=2, one_host=True)
    assert os.environ[NAMES[3]] == "^ofi"


@pytest.mark.usefixtures("environment")
def test_ranks_have_a_core_each_unless_somebody_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, c: pinned.append(c))
    for local_rank in range(5):
        process.prepare_environment(local_rank, local_size=5)
    assert pinned == [{0}, {1}, {2}, {3}, {0}]
    process.prepare_environment(local_rank=0, local_size=3)  # cores to spare
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3})
    process.prepare_environment(local_rank=0, local_size=5)  # bound by the launcher
    assert len(pinned) == 5


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool) -> None:
    was, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with process.for_good():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() > frozen
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()


@pytest.mark.parametrize(
    ("cores", "local_size", "batch_size", "expected"),
    [
        (2, 1, 100, 1),
        (64, 1, 100, 1),
        (64, 1, 1000, 6),
        (8, 4, 1000, 2),
        (2, 4, 1000, 1),
    ],
)
def test_threads_follow_the_work(
    cores: int, local_size: int, batch_size: int, expected: int
) -> None:
    flops = model.Mlp.step_flops(Config(batch_size=batch_size))
    assert process.intra_op_threads(cores, local_size, flops) == expected
    assert process.intra_op_threads(cores, 1, math.inf) == cores


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    gpus, grown, visible = ["gpu0", "gpu1"], [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda *call: grown.append(call)
    )
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *call: visible.append(call)
    )
    for local_rank in (0, 1, 2):
        process.configure_tensorflow(local_rank, 3, 3, 0)
    assert visible == [("gpu0", "GPU"), ("gpu1", "GPU"), ("gpu0", "GPU")]
    assert grown == [("gpu0", True), ("gpu1", True)] * 3


def test_a_failing_import_shows_what_was_said() -> None:
    program = (
        "import os, sys; from distmnist.distributed import process\n"
        "class Broken:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'tensorflow': os.write(2, b'a clue'); raise ImportError\n"
        "sys.meta_path.insert(0, Broken())\n"
        "process.import_tensorflow()"
    )
    assert "a clue" in run((sys.executable, "-c", program), status=1).stderr
