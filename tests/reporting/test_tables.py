"""The tables of the report."""

from __future__ import annotations

import math

from distmnist.reporting import tables
from tests.reporting.records import lines, numbers, record


def test_the_best_value_of_a_column_is_marked() -> None:
    slow = lines(loss=0.1, examples_per_sec=7.0)
    runs = [record("a", 0.8), record("b", 0.91)._replace(train=slow), record("c", 0.91)]
    columns = {column.title: column for column in tables.results(runs)}
    accuracy = columns["Accuracy, test"]
    assert (accuracy.cells, accuracy.best) == (
        ["0.8000", "0.9100", "0.9100"],
        [False, True, True],
    )
    # Of one batch, whose size may differ: none is the best.
    assert columns["Loss, last global batch"].best == [False] * 3
    assert columns["Examples/s, median"].best == [False, False, True]
    assert columns["Steps"].best == [False] * 3


def test_a_metric_is_best_where_it_is_small_or_as_best_metric_says() -> None:
    names = ("loss", "mean_absolute_error", "f1", "unknown")
    runs = [record("a"), record("b", best_metric="f1:max")]
    for run, value in zip(runs, (1.0, 2.0)):
        for line in run.eval["test"]:
            line["metrics"] = dict.fromkeys(names, value)  # type: ignore[index]
    best = {column.title: column.best for column in tables.results(runs)}
    assert best["Mean absolute error, test"] == [True, False]
    assert best["Loss, test"] == [True, False]
    assert best["F1, test"] == [False, True]
    assert best["Unknown, test"] == [False, False]


def test_no_metric_is_best_on_different_data() -> None:
    columns = tables.results([record("a", 0.8), numbers("b")])
    assert [column.title for column in columns][:5] == [
        "Accuracy, test",
        "Accuracy, validation",
        "Accuracy, train",
        "Mean absolute error, test",
        "Mean absolute error, validation",
    ]
    assert columns[0].cells == ["0.8000", "-"]
    metrics = [column for column in columns if "Examples/s" not in column.title]
    assert not any(any(column.best) for column in metrics)


def test_no_value_is_best_where_all_are_equal_or_none_is_a_number() -> None:
    for runs in ([record("a")], [record("a"), record("b")]):
        assert not any(any(column.best) for column in tables.results(runs))
    bad = [lines(loss=math.nan), lines(loss=math.inf), lines(loss=-math.inf)]
    runs = [record("a")._replace(train=train) for train in bad]
    (loss,) = (c for c in tables.results(runs) if c.title.startswith("Loss, last"))
    assert (loss.cells, loss.best) == (["nan", "inf", "-inf"], [False] * 3)


def test_what_a_step_consists_of_is_shown_where_it_was_measured() -> None:
    parts = {"step_ms": 10.0, "input_ms": 1.0, "compute_ms": 6.0, "exposed_ms": 3.0}
    line = {**parts, "hidden_ms": 2.0, "utilization": None}
    runs = [record("a"), record("b")._replace(breakdown=line)]
    cells = {column.title: column.cells for column in tables.results(runs)}
    assert cells["Communication exposed, ms"] == ["-", "3"]
    assert cells["FLOP utilization"] == ["-", "-"]
    assert cells["Time in steps"] == ["50%", "50%"]
    old = [record("c")._replace(train=lines(goodput=None))]
    cells = {column.title: column.cells for column in tables.results(old)}
    assert "Communication exposed, ms" not in cells
    assert cells["Time in steps"] == ["-"]


def test_settings_that_differ_come_first() -> None:
    runs = [
        record("a", learning_rate=0.1, seed=1),
        record("b", learning_rate=0.12345678, seed=1, log_every=7, size=2),
        record("c")._replace(saved=None),
    ]
    settings, others, equal = tables.facts(runs)
    assert [(column.title, column.cells) for column in settings] == [
        ("workers", ["1", "2", "1"]),
        ("learning_rate", ["0.1", "0.12345678", "-"]),
    ]
    assert [(column.title, column.cells) for column in others] == [
        ("log_every", ["100", "7", "-"])
    ]
    assert equal["seed"] == "1"
    assert equal["host"] == "node"
    assert not {"log_dir", "time", "size"} & set(equal)


def test_an_empty_run_has_no_values() -> None:
    run = record("a")._replace(start={}, train=[], eval={}, saved=None)
    assert {cell for column in tables.results([run]) for cell in column.cells} == {"-"}
    assert tables.facts([run]) == ([], [], {})
