"""The curves of the report: what is drawn, over which x axes, in which colors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.metrics.console import metric_title
from distmnist.reporting import tables
from distmnist.reporting.lines import Line
from distmnist.reporting.reader import RunRecord

EPOCHS, STEPS, EXAMPLES, SECONDS = "epochs", "steps", "examples", "seconds"
AXES = {
    EPOCHS: "epochs (passes over the training split)",
    STEPS: "optimizer steps",
    EXAMPLES: "training examples consumed",
    SECONDS: "training time (seconds)",
}
"""Labels of the x axes."""

LIGHT = ("#0072b2", "#e07b00", "#1b1b1b", "#870ff0", "#875a3c", "#0f1e96", "#960f5a")
DARK = ("#4ea8e6", "#ff9a2e", "#f2f2f2", "#e12d5a", "#874bf0", "#c32d96", "#e1c378")
"""Colors on a light and on a dark page: any two differ by at least 25 in CIELAB, with
each kind of color blindness too, and from the page by a contrast of 3."""

DASHES = ((), (7, 4), (2, 3), (9, 3, 2, 3))
"""Lengths of dashes and gaps; after all colors, they are used again with the next."""

_BUCKETS = 250  # curves with more than twice as many points are thinned


class Curve(NamedTuple):
    """A curve.

    Attributes:
        x: float [n], finite, for each x axis that is known.
        y: float [n]; nan where the value is not a number.
    """

    x: Mapping[str, NDArray[np.float64]]
    y: NDArray[np.float64]


class Chart(NamedTuple):
    """A chart.

    Attributes:
        name: name of its file.
        title: what it shows.
        unit: label of the y axis, with the unit.
        log: use a logarithmic y axis.
        curves: curves by their index in the legend.
    """

    name: str
    title: str
    unit: str
    log: bool
    curves: Mapping[int, Curve]


def legend(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """Returns the names of the curves: the runs, or the splits of a single run.

    Args:
        runs: runs to show.
        names: their short names.
    """
    if len(runs) > 1:
        return list(names)
    return list(dict.fromkeys(("train", *runs[0].eval)))


def charts(runs: Sequence[RunRecord]) -> list[Chart]:
    """Returns the charts, in the order of the page.

    Args:
        runs: runs to show.
    """

    def training(field: str) -> dict[int, Curve]:
        return {
            index: _curve(run, run.train, [line[field] for line in run.train])
            for index, run in enumerate(runs)
            if run.train
        }

    draw = _of_splits if len(runs) == 1 else _of_runs
    return [
        Chart("loss", "Loss of the last global batch", "loss", True, training("loss")),
        *(chart for name in tables.metric_names(runs) for chart in draw(runs, name)),
        Chart(
            "throughput",
            "Throughput of all workers",
            "examples per second",
            False,
            training("examples_per_sec"),
        ),
        Chart(
            "gradient_norm", "Gradient norm", "L2 norm", True, training("gradient_norm")
        ),
    ]


def _of_splits(runs: Sequence[RunRecord], name: str) -> list[Chart]:
    """Returns the chart of a metric of a single run: a curve for each split."""
    (run,) = runs
    splits = legend(runs, ())
    curves = {splits.index(split): _of_metric(run, split, name) for split in run.eval}
    title = f"{metric_title(name)} on each split"
    return [_chart(name, "", title, curves)]


def _of_runs(runs: Sequence[RunRecord], name: str) -> list[Chart]:
    """Returns the charts of a metric, one for each split: a curve for each run."""
    title = metric_title(name)
    charts = []
    for split in ("test", "validation", "train"):
        curves = {
            index: _of_metric(run, split, name)
            for index, run in enumerate(runs)
            if split in run.eval
        }
        suffix = "" if split == "test" else f"_{split}"
        charts.append(_chart(name, suffix, f"{title} on the {split} split", curves))
    return charts


def _chart(
    metric: str, suffix: str, title: str, curves: Mapping[int, Curve | None]
) -> Chart:
    """Returns the chart of a metric of evaluations, without the curves that lack it."""
    file = {"accuracy": "precision", "loss": "loss_eval"}.get(metric, metric)
    unit = f"{metric_title(metric).lower()}"
    return Chart(
        re.sub(r"[^\w.-]", "_", file) + suffix,
        title,
        "accuracy (fraction)" if metric == "accuracy" else unit,
        metric == "loss",
        {index: curve for index, curve in curves.items() if curve is not None},
    )


def _of_metric(run: RunRecord, split: str, name: str) -> Curve | None:
    """Returns the curve of a metric of a split; None if it has no such metric."""
    lines = [line for line in run.eval[split] if name in line["metrics"]]
    if not lines:
        return None
    return _curve(run, lines, [line["metrics"][name] for line in lines])


def _curve(run: RunRecord, lines: Sequence[Line], values: Sequence[float]) -> Curve:
    """Returns the curve of a value of each of some lines."""
    y = np.array(values, np.float64)
    kept = _extremes(y)
    steps = np.array([line["step"] for line in lines], np.float64)[kept]
    x = {
        EPOCHS: run.epochs(steps),
        STEPS: steps,
        SECONDS: np.array([line["elapsed"] for line in lines], np.float64)[kept],
    }
    if run.num_examples:
        x[EXAMPLES] = np.round(x[EPOCHS] * run.num_examples)
    known = np.isfinite(list(x.values())).all(axis=0)
    return Curve({axis: values[known] for axis, values in x.items()}, y[kept][known])


def _extremes(y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the indices of the points to draw: no peak is lost.

    Of many points, those are the lowest and the highest of each bucket, and the ends.
    """
    if len(y) <= 2 * _BUCKETS:
        return np.arange(len(y))
    kept = {0, len(y) - 1}
    for bucket in np.array_split(np.arange(len(y)), _BUCKETS):
        part = y[bucket]
        kept.add(int(bucket[np.argmin(np.where(np.isnan(part), np.inf, part))]))
        kept.add(int(bucket[np.argmax(np.where(np.isnan(part), -np.inf, part))]))
    return np.array(sorted(kept))


def style(index: int) -> tuple[int, tuple[int, ...]]:
    """Returns the color, as an index, and the dashes of a curve of the legend."""
    return index % len(LIGHT), DASHES[index // len(LIGHT) % len(DASHES)]
