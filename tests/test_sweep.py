"""Sweeps: their points, and real trials, some of which fail or are interrupted."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist import sweep
from distmnist.core.errors import InputError
from distmnist.sweeping import points, results
from distmnist.sweeping.results import Result
from tests.jobs import Job
from tests.launching import messages, run

SWEEP = (sys.executable, "-m", "distmnist.sweep")
TRAINING = ("--", "--dataset=digits", "--hidden1=16", "--hidden2=8", "--batch_size=20")


def test_a_grid_has_all_combinations() -> None:
    varied = points.parse(["a=1,2", "b=0.01..1/3", "c=x"])
    assert points.grid(varied) == [
        {"a": a, "b": b, "c": "x"} for a in "12" for b in ("0.01", "0.1", "1")
    ]


def test_no_combination_comes_twice() -> None:
    assert points.grid(points.parse(["a=1,1", "b=1..1.0001/3"])) == [
        {"a": "1", "b": "1"}
    ]


def test_a_range_of_whole_numbers_has_whole_numbers() -> None:
    varied = points.parse(["size=1..3/5", "rate=1..3/3"], ["size"])
    assert {point["size"] for point in points.grid(varied)} == {"1", "2", "3"}
    assert points.grid(varied)[1]["rate"] == "1.732"


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_draws_are_in_range_differ_and_do_not_depend_on_their_number(
    seed: int, number: int
) -> None:
    varied = points.parse(["rate=0.001..10", "on=true,false", "size=1..100"])
    drawn = points.draw(varied, number, seed)
    assert len(drawn) == number
    assert len({points.name(point) for point in drawn}) == number
    assert drawn == points.draw(varied, number + 5, seed)[:number]
    for point in drawn:
        assert 0.001 <= float(point["rate"]) <= 10
        assert point["on"] in ("true", "false")


def test_no_more_points_are_drawn_than_there_are() -> None:
    assert len(points.draw(points.parse(["a=1,2", "b=1,2"]), 50, 0)) == 4


@pytest.mark.parametrize(
    "text", ["a", "a=", "=1", "a b=1", "a=1..0", "a=0..1", "a=x..y", "a=1..2/1"]
)
def test_what_is_no_variation_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"must be NAME=|a range"):
        points.parse([text])
    with pytest.raises(InputError, match="each name once"):
        points.parse(["a=1", "a=2"])


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_names_are_those_of_one_directory(value: str) -> None:
    name = points.name({"model": value})
    assert "/" not in name and "," not in name and name.startswith("model=")
    assert len(name) < 230


@pytest.mark.parametrize(
    ("launcher", "reason"),
    [
        ('"', "No closing quotation"),
        ("nosuchprogram -np 2", "no program nosuchprogram"),
    ],
)
def test_a_launcher_that_cannot_be_started_is_refused(
    launcher: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        sweep.Options(varied=("a=1",), launcher=launcher)


def test_the_best_is_first_and_failures_are_last() -> None:
    made = [
        Result({"a": "1"}, 0.5, 10, ""),
        Result({"a": "2"}, math.nan, 0, "status 1: the loss is nan"),
        Result({"a": "3"}, 0.9, 20, ""),
        Result({"a": "4"}, 0.95, 20, "status 1: killed"),
    ]
    order = [result.point["a"] for result in results.ranked(made, 1)]
    assert order[:2] == ["3", "1"] and set(order[2:]) == {"2", "4"}
    assert [r.point["a"] for r in results.ranked(made, -1)][:2] == ["1", "3"]


@pytest.mark.ranks  # with no other test beside it
@pytest.mark.timeout(400)
def test_a_sweep_is_interrupted_continued_and_compared(tmp_path: Path) -> None:
    flags = ("learning_rate=0.01,0.3,1e30", *TRAINING, "--max_steps=60000")
    stopped = (*SWEEP, "--sweep_dir=rates", "--jobs=2", *flags)
    with Job(stopped, tmp_path) as job:

        def training() -> bool:
            found = list(tmp_path.glob("rates/*/metrics.jsonl"))
            return sum(b'"train"' in path.read_bytes() for path in found) >= 2

        job.wait_for(training)
        os.kill(job.pid, signal.SIGINT)
        assert job.end() == 130, job.output()
        assert "the same command continues the sweep" in job.output()
        assert "Traceback" not in job.output()
    saved = tmp_path.glob("rates/learning_rate=0.*/model.ckpt-*.index")
    assert len({path.parent for path in saved}) == 2
    # With fewer steps, it is another sweep; what has ended well is not run again.
    other = (*SWEEP, "--sweep_dir=rates", flags[0], *TRAINING, "--max_steps=300")
    told = run(other, status=2, cwd=tmp_path)
    assert "holds a sweep with other flags" in told.stderr
    short = (*SWEEP, "--sweep_dir=short", flags[0], *TRAINING, "--max_steps=300")
    done = run(short, cwd=tmp_path, timeout=200)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["learning_rate", "accuracy", "step"]
    assert {row[0] for row in rows[1:3]} == {"0.3", "0.01"} and rows[3][0] == "1e30"
    assert rows[1][1] >= rows[2][1]
    assert "the loss is" in done.stdout.splitlines()[3]
    for name in ("sweep.png", "report.html", "results.txt"):
        assert (tmp_path / "short" / name).stat().st_size > 100
    journal = tmp_path / "short/sweep.json"
    ended = json.loads(journal.read_text())["trials"]
    assert sorted(trial["status"] for trial in ended.values()) == [0, 0, 1]
    again = run(short, cwd=tmp_path, timeout=200)
    assert "3 trials, 2 of them done" in again.stderr
    # Of the one that fails again, it depends on time how many steps go together.
    first, second = (re.sub(r"at step \d", "", p.stdout) for p in (done, again))
    assert second == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a value is required"),
        (("learning_rate=x",), "--learning_rate=x: must be a number"),
        (("no_such=1",), "no_such"),
        (("log_dir=a,b",), "flag --log_dir: is chosen by the sweep"),
        (("--", "--max_steps=5"), "nothing is varied"),
        (("momentum=0", "--", "--max_steps=-5"), "--max_steps=-5"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run((*SWEEP, "--sweep_dir=s", *arguments), status=2, cwd=tmp_path)
    (line,) = messages(done.stderr)
    assert message in line
    assert not (tmp_path / "s").exists()
