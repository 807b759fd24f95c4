"""The curves of the report."""

from __future__ import annotations

import math

import numpy as np

from distmnist.reporting import curves
from tests.reporting.records import lines, numbers, record


def test_each_curve_has_every_axis() -> None:
    runs = [record("a"), record("b", size=2)]
    loss = curves.charts(runs)[0]
    for index, run in enumerate(runs):
        curve = loss.curves[index]
        assert curve.y.tolist() == [line["loss"] for line in run.train]
        assert curve.x["steps"].tolist() == [line["step"] for line in run.train]
        assert curve.x["epochs"].tolist() == [line["epoch"] for line in run.train]
        assert curve.x["examples"].tolist() == [1000 * x for x in curve.x["epochs"]]
        assert curve.x["seconds"].tolist() == [line["elapsed"] for line in run.train]


def test_evaluations_are_at_the_epoch_of_their_step() -> None:
    run = record("a")
    run = run._replace(train=run.train[::2])  # steps 10, 30, 50, ...
    (curve, *_) = curves.charts([run])[1].curves.values()
    assert curve.x["steps"].tolist() == [100, 200, 300, 400]
    assert curve.x["epochs"][:2].tolist() == [5, 10]


def test_a_single_run_has_a_curve_for_each_split() -> None:
    run = record("a")
    assert curves.legend([run], ["a"]) == ["train", "validation", "test"]
    names = [chart.name for chart in curves.charts([run])]
    assert names == ["loss", "precision", "loss_eval", "throughput", "gradient_norm"]
    assert list(curves.charts([run])[1].curves) == [0, 1, 2]


def test_runs_have_a_chart_for_each_split() -> None:
    runs = [record("a"), record("b")._replace(eval={})]
    charts = {chart.name: chart for chart in curves.charts(runs)}
    assert list(charts["precision"].curves) == [0]
    assert list(charts["precision_validation"].curves) == [0]
    assert list(charts["loss_eval_validation"].curves) == [0]
    assert list(charts["loss"].curves) == [0, 1]


def test_metrics_of_any_name_have_a_chart() -> None:
    runs = [record("a"), numbers("b")]
    charts = {chart.name: chart for chart in curves.charts(runs)}
    assert list(charts["precision"].curves) == [0]
    assert list(charts["loss_eval"].curves) == [0, 1]
    error = charts["mean_absolute_error_validation"]
    assert error.title == "Mean absolute error on the validation split"
    assert list(error.curves) == [1]
    assert error.curves[1].y[-1] == 5 + runs[1].train[-1]["loss"]
    (run,) = runs[1:]
    (line,) = run.eval["test"][:1]
    strange = {**line, "metrics": {"../f1 of a/b": 0.5}}
    names = [c.name for c in curves.charts([run._replace(eval={"test": [strange]})])]
    assert names[1] == ".._f1_of_a_b"


def test_a_run_that_was_never_evaluated_has_no_axis_of_examples() -> None:
    (loss, *_) = curves.charts([record("a")._replace(eval={})])
    assert "examples" not in loss.curves[0].x


def test_long_curves_are_thinned_without_losing_a_peak() -> None:
    trained = lines(5000)
    trained[1234] = {**trained[1234], "loss": 99.0}
    trained[2345] = {**trained[2345], "loss": -99.0}
    trained[3456] = {**trained[3456], "loss": math.nan}
    (loss, *_) = curves.charts([record("a")._replace(train=trained)])
    curve = loss.curves[0]
    assert 250 <= len(curve.y) <= 502
    assert {99.0, -99.0} <= set(curve.y)
    assert curve.x["steps"][[0, -1]].tolist() == [10, 50000]
    assert (np.diff(curve.x["steps"]) > 0).all()


def test_styles_of_many_runs_differ() -> None:
    assert len({curves.style(index) for index in range(28)}) == 28
