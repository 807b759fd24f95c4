"""The short form of tests.kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills import kill_again_and_again


@pytest.mark.slow  # tests/faults has a short form, and the signals one kill each
@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_survives_kills_at_random_moments(tmp_path: Path) -> None:
    counts = kill_again_and_again(kills=4, seed=3, directory=tmp_path)
    assert counts["kills"] == 4
