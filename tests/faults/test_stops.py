"""A few stops: `python -m tests.faults` tries more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import stops
from tests.faults.outcomes import GOOD
from tests.faults.stops import Stop

CELLS = (
    Stop("mpirun", "rank 0", "STOP", "shutdown"),
    Stop("gloo", "rank 1", "STOP", "connect"),
    Stop("wrapper", "launcher", "USR1", "loop"),
)


@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_stops_end_the_job_and_lose_nothing(tmp_path: Path) -> None:
    begun = stops.prepare(tmp_path)
    for number, cell in enumerate(CELLS):
        directory = tmp_path / str(number)
        fault = stops.try_stop(cell, directory, begun, resume=False)
        assert fault.outcome in GOOD, fault
    saved = stops.saved(tmp_path / "2/logs")
    assert saved > stops.START, "the wrapped ranks saved no checkpoint"


def test_the_matrix_is_whole() -> None:
    assert len(set(stops.matrix())) == (5 * 4 + 1) * 6 * 7 - 6  # plain has no peers
