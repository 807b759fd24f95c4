"""The benchmarks of overlap, neighbours and large networks: tables, and short runs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks import large, neighbours
from tests.benchmarks.overlap import __main__ as overlap
from tests.benchmarks.overlap import hosts, model, plot

needs_hosts = pytest.mark.skipif(bool(hosts.lacks()), reason=f"needs {hosts.lacks()}")

MEDIANS = {
    overlap.Case("sleep", 2, 1.0, 24.0): {"alone": 0.2, "bare": 0.1, "flat": 0.3},
    overlap.Case("sleep", 2, 1.0, 100.0): {"flat": 1.0},  # another one failed
}


def test_times_are_compared_with_the_shortest_possible() -> None:
    first, second = overlap.table(MEDIANS).splitlines()[2:]
    assert first.startswith(
        "| sleep | 2 | 1 | 24 | 200 (1.00) | 100 (0.50) | 300 (1.50)"
    )
    assert second.startswith("| sleep | 2 | 1 | 100 |  |  | 1000 |")


def test_steps_are_predicted_from_bare_allreduces_between_two_hosts() -> None:
    def case(ranks: int, megabytes: float) -> overlap.Case:
        return overlap.Case("sleep", ranks, 1.0, megabytes)

    # 0.1 ms for each message, 1 GB/s: 2 messages of half the size each between two.
    medians = {
        case(2, 1): {"alone": 0.2, "bare": 0.0012, "flat": 0.2},
        case(2, 100): {"alone": 0.2, "bare": 0.1002, "buckets": 0.25},
        case(4, 100): {"alone": 0.2, "flat": 0.3},
    }
    assert not model.predict({case(2, 1): medians[case(2, 1)]})  # cannot be fitted
    first, second, third = model.predict(medians)
    assert first.predicted == pytest.approx(0.2012)
    assert second.predicted == pytest.approx(0.2 + 0.1 / 8 + 0.0002)
    assert third.predicted == pytest.approx(0.2 + 0.15 + 0.0006)
    assert "Median error: 15%" in model.table([first, second, third])


def test_cases_with_a_limit_are_drawn(tmp_path: Path) -> None:
    titles = {name: each.title for name, each in overlap.CONTENDERS.items()}
    plot.draw(MEDIANS, titles, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_rates_are_compared_with_those_of_the_idle_machine() -> None:
    rates = {
        neighbours.Case(): {"a": [100.0, 300.0, 200.0]},
        neighbours.Case(busy=1): {"a": [50.0], "b": [7.0]},
        neighbours.Case(quota=0.5): {},
    }
    assert neighbours.table(rates).splitlines()[2:] == [
        "| idle | 200 |  |",
        "| 1 busy | 50 (0.25) | 7 |",
        "| quota of 0.5 cores |  |  |",
    ]


def test_an_unknown_contender_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for program in (overlap, neighbours):
        with pytest.raises(SystemExit):
            program.main(["--only=another"])
        assert "no contender matches 'another'" in capsys.readouterr().err


@needs_hosts
def test_hosts_reach_each_other_and_are_removed() -> None:
    with hosts.Hosts(2, 1.0) as two:
        command = ("ip", "netns", "exec", two.names[1], "bash", "-c")
        # Nobody listens there: the host is reached if it refuses at once.
        reach = f"exec 3<>/dev/tcp/{two.address()}/9"
        done = subprocess.run((*command, reach), capture_output=True, timeout=20)
        assert b"Connection refused" in done.stderr
        assert two.names[0] in _namespaces()
    assert not set(two.names) & set(_namespaces())


def _namespaces() -> list[str]:
    listed = subprocess.run(("ip", "netns"), capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


@needs_hosts
@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_a_short_run_of_overlap(tmp_path: Path) -> None:
    only = "--only=alone,bare,flat,buckets,horovod"
    small = ("--kinds=sleep", "--megabytes=0.4", "--repeats=1", only)
    assert overlap.main([*small, f"--out={tmp_path}"]) == 0
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert len(case["seconds"]) == 5
    assert all(seconds[0] > 0 for seconds in case["seconds"].values())


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_a_short_run_of_neighbours(tmp_path: Path) -> None:
    small = ("--busy=0,1", "--quotas=1", "--repeats=1", "--only=distmnist_2")
    assert neighbours.main([*small, f"--out={tmp_path}"]) == 0
    written = json.loads((tmp_path / "results.json").read_text())
    for case in written["cases"]:
        assert case["examples_per_second"]["distmnist_2"][0] > 0


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_memory_of_a_large_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert large.main(["--parameters=34"]) == 0
    output = capsys.readouterr().out
    ratios = [float(text) for text in re.findall(r"beyond .*: ([0-9.]+) of", output)]
    assert len(ratios) == 2
    assert all(0.5 < ratio < 2 for ratio in ratios)
    assert "after a checkpoint" in output
