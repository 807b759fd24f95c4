"""Hostile input of each kind, a few times: `python -m tests.faults` does more."""

from __future__ import annotations

from pathlib import Path

from tests.faults import input_kinds, inputs
from tests.faults.outcomes import GOOD


def test_hostile_input_is_told_in_one_line(tmp_path: Path) -> None:
    input_kinds.prepare(tmp_path)
    tried = 0
    for fault in inputs.try_inputs(tmp_path, seed=0, times=0.05):
        tried += 1
        assert fault.outcome in GOOD, fault
    assert tried >= len(input_kinds.KINDS)
