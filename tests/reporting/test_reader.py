"""Records of runs, as read from their metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from distmnist.core.errors import InputError
from distmnist.distributed.cluster import Cluster
from distmnist.reporting import reader
from tests.reporting import records

START = {"kind": "start", "step": 0, "size": 1, "time": 100.0}
EVAL = {**START, "kind": "eval", "split": "test", "num_examples": 9}
TRAIN = {**records.lines(1)[0], "time": 103.0}


def _read(directory: Path, *lines: object) -> reader.RunRecord:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (directory / "metrics.jsonl").write_text("\n".join(texts) + "\n")
    return reader.read(str(directory), Cluster())


def test_pauses_are_no_training_time(tmp_path: Path) -> None:
    resumed = {**START, "step": 10, "time": 1000.0}
    later = {**TRAIN, "step": 20, "time": 1004.0}
    run = _read(tmp_path, START, TRAIN, resumed, later)
    assert [line["elapsed"] for line in run.train] == [3.0, 7.0]
    assert run.start["time"] == 1000.0


def test_values_that_are_not_numbers_are_read(tmp_path: Path) -> None:
    run = _read(tmp_path, START, {**TRAIN, "loss": math.nan, "epoch": math.inf})
    assert math.isnan(run.train[0]["loss"])
    assert "contains no checkpoint" in run.failure


def test_the_last_line_may_be_incomplete(tmp_path: Path) -> None:
    run = _read(tmp_path, START, TRAIN, '{"kind": "tra')
    assert len(run.train) == 1
    assert _read(tmp_path, "").train == []


def test_unknown_kinds_are_not_shown(tmp_path: Path) -> None:
    run = _read(tmp_path, START, {**START, "kind": "end"}, TRAIN)
    assert len(run.train) == 1


def test_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    line = json.dumps({**START, "host": "a\u2028b\x85"}, ensure_ascii=False)
    assert _read(tmp_path, line).start["host"] == "a\u2028b\x85"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 10**5, "is not JSON"),
        ("1" * 10**5, "is not JSON"),
        ("7", "Expected `object`"),
        ({"kind": ["train"]}, "$.kind"),
        ({"step": 1}, "missing required field `kind`"),
        ({**TRAIN, "step": "1"}, "$.step"),
        ({**TRAIN, "step": math.nan}, "$.step"),
        ({**TRAIN, "step": 10**30}, "$.step"),
        ({**TRAIN, "time": math.inf}, "$.time"),
        ({**TRAIN, "loss": None}, "$.loss"),
        ({**TRAIN, "loss": 10**400}, ""),
        ({**TRAIN, "kind": "eval"}, "missing required field `split`"),
        ({**EVAL, "metrics": 1}, "$.metrics"),
        ({**EVAL, "metrics": {"f1": "high"}}, "$.metrics[...]"),
        ({**EVAL, "precision": True}, "$.metrics[...]"),
    ],
)
def test_a_bad_line_is_reported(tmp_path: Path, line: Any, reason: str) -> None:
    with pytest.raises(InputError) as error:
        _read(tmp_path, START, line, TRAIN)
    assert "metrics.jsonl, line 2: is not " in str(error.value)
    assert reason in str(error.value)
    assert str(error.value).endswith("; correct the line, or restore the file")


def test_metrics_of_any_name_are_read_and_those_of_version_0_1(tmp_path: Path) -> None:
    run = _read(
        tmp_path,
        START,
        {**EVAL, "precision": 0.5},
        {**EVAL, "precision": 0.5, "metrics": {"accuracy": 0.5, "f1": math.nan}},
    )
    old, new = run.eval["test"]
    assert old["metrics"] == {"accuracy": 0.5}
    assert list(new["metrics"]) == ["accuracy", "f1"]
