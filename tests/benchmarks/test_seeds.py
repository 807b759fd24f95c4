"""The benchmark over many seeds: its table, and a short run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.benchmarks import seeds
from tests.benchmarks.seeds import Row
from tests.launching import run


def test_table_compares_with_the_first_row() -> None:
    reference = [[0.94, 0.96], [0.95, 0.97], [0.945, 0.965]]
    lower = [[0.90, 0.96], [0.91, 0.97], [0.905, 0.965]]
    lines = seeds.table([Row("reference", reference), Row("lower", lower)]).splitlines()
    assert lines[0].startswith("Test accuracy over 3 seeds")
    assert lines[-2] == "| reference | 0.9450 ± 0.0050 | 0.9650 ± 0.0050 |"
    assert lines[-1].startswith("| lower | 0.9050 ± 0.0050 (differs, p = 0.00) | ")
    assert lines[-1].endswith("0.9650 ± 0.0050 (within noise, p = 1.00) |")


@pytest.mark.slow
@pytest.mark.ranks
def test_runs(mnist_dir: Path) -> None:
    command = (sys.executable, "-m", "tests.benchmarks.seeds", "--seeds=2")
    done = run((*command, f"--data={mnist_dir}", "--sizes=1,2"))
    pattern = r"^\| (.+?) \| 0\.9[34]\d\d .*0\.9[56]\d\d "
    names = re.findall(pattern, done.stdout, re.MULTILINE)
    assert names == ["the tutorial's loop", "distmnist, 1 rank", "distmnist, 2 ranks"]
