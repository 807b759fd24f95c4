"""Write errors and kills at a few calls: `python -m tests.faults` tries more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import writes
from tests.faults.outcomes import GOOD


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_write_errors_and_kills_lose_nothing(tmp_path: Path) -> None:
    faults = list(writes.try_faults(tmp_path, part=None, seed=0, sample=5))
    for fault in faults:
        assert fault.outcome in GOOD, fault
    assert len(faults) >= 4
