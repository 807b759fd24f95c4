"""The benchmark of global batches: its runs, and its table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks import batches
from tests.launching import run


@pytest.mark.parametrize("batch", [100, 400, 1600, 6400])
def test_every_run_has_its_batch_and_its_epochs(batch: int) -> None:
    for method in batches.METHODS:
        ranks, fields = batches.flags(method, batch)
        each = fields["batch_size"] * fields["backward_passes_per_step"]
        assert ranks * each == batch
        assert 4 * 55_000 - batch < fields["max_steps"] * batch <= 4 * 55_000
        assert fields.get("warmup_steps", 1) >= 1


def test_the_table_has_mean_and_deviation() -> None:
    lines = batches.table(
        {("linear", 100): [0.9, 0.92], ("linear", 400): [0.5, 0.5]}
    ).splitlines()
    assert lines[0] == "| global batch | 100 | 400 |"
    assert lines[2] == "| linear | 0.9100 ± 0.0141 | 0.5000 ± 0.0000 |"


@pytest.mark.slow
@pytest.mark.ranks
def test_runs(mnist_dir: Path) -> None:
    command = (sys.executable, "-m", "tests.benchmarks.batches", "--seeds=2")
    done = run((*command, f"--data={mnist_dir}", "--batches=400"), timeout=500)
    assert len(done.stdout.splitlines()) == 2 + len(batches.METHODS)
    assert "| linear | 0.9" in done.stdout
