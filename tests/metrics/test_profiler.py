"""The profiler."""

from __future__ import annotations

import logging as python_logging
from pathlib import Path

import pytest
from absl import logging

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.profiler import Profiler


def test_profiles_a_range_of_steps(tmp_path: Path) -> None:
    ended: list[Progress] = []
    profiler = Profiler((3, 5), RunDirectory(tmp_path), 0, (0, 9), ended.append)
    assert [profiler.next_step(step, 9) for step in range(9)] == [3, 3, 3, 5, 5] + [
        9
    ] * 4
    for step in range(1, 10):
        if profiler.is_due(step, 9):
            profiler(Progress(step, 0))
        assert profiler._running == (step in (3, 4))
    assert [progress.step for progress in ended] == [5]
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_stops_with_the_run(tmp_path: Path) -> None:
    ended: list[Progress] = []
    profiler = Profiler((3, 50), RunDirectory(tmp_path), 0, (0, 9), ended.append)
    for step in (3, 9):
        assert profiler.is_due(step, 9)
        profiler(Progress(step, 0))
    assert not profiler._running
    assert [progress.step for progress in ended] == [9]


@pytest.mark.parametrize(
    ("start", "end", "profiles", "warns"),
    [
        (0, 3, False, True),
        (0, 4, True, False),
        (3, 9, False, True),
        (5, 9, False, False),
    ],
)
def test_says_if_nothing_is_profiled(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    start: int,
    end: int,
    profiles: bool,
    warns: bool,
) -> None:
    ended: list[Progress] = []
    logging.use_absl_handler()
    caplog.handler.setLevel("INFO")
    python_logging.getLogger("absl").addHandler(caplog.handler)
    profiler = Profiler((3, 5), RunDirectory(tmp_path), 0, (start, end), ended.append)
    for step in range(start + 1, end + 1):
        if profiler.is_due(step, end):
            profiler(Progress(step, 0))
        assert profiler._running == (profiles and 3 <= step < min(5, end))
    python_logging.getLogger("absl").removeHandler(caplog.handler)
    assert ("nothing is profiled" in caplog.text) == warns
    assert bool(list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))) == profiles
    assert len(ended) == profiles


def test_other_ranks_stop_at_the_same_steps_and_write_nothing(tmp_path: Path) -> None:
    ended: list[Progress] = []
    profiler = Profiler((3, 5), RunDirectory(tmp_path), 1, (0, 9), ended.append)
    assert profiler.next_step(0, 9) == 3
    for step in (3, 5):
        profiler(Progress(step, 0))
    assert list(tmp_path.iterdir()) == []
    assert [progress.step for progress in ended] == [5]  # measures together with rank 0
