"""The profiler."""

from __future__ import annotations

from pathlib import Path

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.profiler import Profiler


def test_profiles_a_range_of_steps(tmp_path: Path) -> None:
    profiler = Profiler((3, 5), RunDirectory(tmp_path), rank=0)
    assert [profiler.next_step(step, 9) for step in range(9)] == [3, 3, 3, 5, 5] + [
        9
    ] * 4
    for step in range(1, 10):
        if profiler.is_due(step, 9):
            profiler(Progress(step, 0))
        assert profiler._running == (step in (3, 4))
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_stops_with_the_run(tmp_path: Path) -> None:
    profiler = Profiler((3, 50), RunDirectory(tmp_path), rank=0)
    for step in (3, 9):
        assert profiler.is_due(step, 9)
        profiler(Progress(step, 0))
    assert not profiler._running


def test_other_ranks_stop_at_the_same_steps_and_write_nothing(tmp_path: Path) -> None:
    profiler = Profiler((3, 5), RunDirectory(tmp_path), rank=1)
    assert profiler.next_step(0, 9) == 3
    for step in (3, 5):
        profiler(Progress(step, 0))
    assert list(tmp_path.iterdir()) == []
