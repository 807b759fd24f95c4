"""Process settings: set where the user has set nothing."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from distmnist.distributed import process
from distmnist.distributed.launchers import Placement
from tests import launching

NAMES = (
    "TF_CPP_MIN_LOG_LEVEL",
    "OMPI_MCA_mpi_yield_when_idle",
    "HOROVOD_CYCLE_TIME",
    "OMPI_MCA_btl",
    "HOROVOD_FUSION_THRESHOLD",
    "HOROVOD_SLEEP_BESIDE_OTHERS",
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without settings; changes to it are undone."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)


@pytest.mark.usefixtures("environment")
def test_ranks_sleep_beside_others_unless_those_are_ranks() -> None:
    for placement in (Placement(5, 0, 0, 5), Placement(2, 0, 0, 1)):
        process.prepare_environment(placement)
        assert (os.environ[NAMES[1]], NAMES[5] in os.environ) == ("1", False)
    process.prepare_environment(Placement(4, 0, 0, 4))
    assert (os.environ[NAMES[1]], os.environ[NAMES[5]]) == ("1", "1")


@pytest.mark.ranks
def test_horovods_patch_replaces_open_mpis_yielding() -> None:
    program = (
        "import ctypes, os, horovod.tensorflow as hvd\n"
        "hvd.init()\n"
        "library = ctypes.CDLL('libopen-pal.so.40')\n"
        "yields = ctypes.c_bool.in_dll(library, 'opal_progress_yield_when_idle')\n"
        # In one piece, as both ranks write to one pipe.
        "os.write(1, f'rank {hvd.rank()} {yields.value}\\n'.encode())\n"
        "hvd.shutdown()"
    )
    rank = (sys.executable, "-c", program)
    sleeps = ("-np", 1, "-x", f"{NAMES[5]}=1", *rank)
    done = launching.run(("mpirun", *sleeps, ":", "-np", 1, *rank), env={NAMES[1]: "1"})
    assert sorted(done.stdout.splitlines()) == ["rank 0 False", "rank 1 True"]


@pytest.mark.usefixtures("environment")
def test_overrides_nothing_that_the_user_has_set() -> None:
    for name in NAMES:
        os.environ[name] = "mine"
    process.prepare_environment(Placement(8, 0, 0, 8))
    assert [os.environ[name] for name in NAMES] == ["mine"] * len(NAMES)


@pytest.mark.usefixtures("environment")
def test_horovod_fuses_only_where_ranks_join_and_leave() -> None:
    process.prepare_environment(Placement(2, 0, 0, 2, is_elastic=True))
    assert NAMES[4] not in os.environ
    process.prepare_environment(Placement(2, 0, 0, 2))
    assert os.environ[NAMES[4]] == "0"


@pytest.mark.usefixtures("environment")
def test_mpi_keeps_its_networks_where_there_are_other_hosts() -> None:
    process.prepare_environment(Placement(4, 0, 0, 2))
    assert NAMES[3] not in os.environ
    process.prepare_environment(Placement(2, 0, 0, 2))
    assert os.environ[NAMES[3]] == "^ofi"
    os.environ[NAMES[3]] = "^openib"  # horovodrun's
    process.prepare_environment(Placement(2, 0, 0, 2))
    assert os.environ[NAMES[3]] == "^openib,ofi"


@pytest.mark.usefixtures("environment")
def test_ranks_are_pinned_to_a_core_each_unless_pinned_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, c: pinned.append(c))
    for local_rank in range(5):
        process.prepare_environment(Placement(5, local_rank, local_rank, 5))
    assert pinned == [{0}, {1}, {2}, {3}, {0}]
    process.prepare_environment(Placement(3, 0, 0, 3))  # cores to spare
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3})
    process.prepare_environment(Placement(5, 0, 0, 5))  # bound by the launcher
    assert len(pinned) == 5


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool) -> None:
    was, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with process.frozen_gc():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() > frozen
    finally:
        (gc.enable if was else gc.disable)()
        gc.unfreeze()
