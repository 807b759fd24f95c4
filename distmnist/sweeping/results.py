"""What the trials of a sweep have shown: a table, and a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.best import BestMetric
from distmnist.reporting import lines
from distmnist.reporting.lines import Line
from distmnist.sweeping.points import Point
from distmnist.sweeping.trials import Trial


class Result(NamedTuple):
    """The result of a trial.

    Attributes:
        point: what differs from other trials.
        value: best value of the metric on the validation split; nan if there is none.
        step: at which it had that.
        problem: why it ended, if it failed.
    """

    point: Point
    value: float
    step: int
    problem: str


def read(trial: Trial, metric: str, sign: int, problem: str) -> Result:
    """Reads the result of a trial from its metrics.

    Args:
        trial: the trial.
        metric: name of the metric.
        sign: 1 if more is better, -1 if less is.
        problem: why it ended, if it failed.
    """
    found = [
        (sign * line["metrics"][metric], -line["step"])
        for line in _evaluations(trial)
        if math.isfinite(line["metrics"].get(metric, math.nan))
    ]
    if not found:
        return Result(trial.point, math.nan, 0, problem or f"no {metric} was logged")
    value, step = max(found)
    return Result(trial.point, sign * value, -step, problem)


def metric_of(config: Config, trials: Sequence[Trial]) -> BestMetric:
    """Returns the metric that trials are compared by.

    Args:
        config: of a trial.
        trials: all trials, which have ended.
    """
    logged = (line for trial in trials for line in _evaluations(trial))
    return BestMetric.of_run(config, any("accuracy" in x["metrics"] for x in logged))


def _evaluations(trial: Trial) -> list[Line]:
    """Returns the evaluations of the validation split; none if they cannot be read."""
    try:
        logged = lines.read(RunDirectory(trial.directory).metrics)
    except InputError:
        return []
    return [
        line
        for line in logged
        if line["kind"] == "eval" and line["split"] == "validation"
    ]


def ranked(results: Sequence[Result], sign: int) -> list[Result]:
    """Returns results, the best first, those without a value last."""
    return sorted(
        results,
        key=lambda result: (
            math.isnan(result.value) or bool(result.problem),
            -sign * result.value if not math.isnan(result.value) else 0.0,
        ),
    )


def table(results: Sequence[Result], metric: str) -> str:
    """Returns a table as text, a row for each result."""
    names = list(results[0].point)
    rows = [[*names, metric, "step", ""]]
    for point, value, step, problem in results:
        shown = "-" if math.isnan(value) else f"{value:.5g}"
        rows.append([*(point[name] for name in names), shown, str(step), problem[:100]])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join(
        "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths)).rstrip() + "\n"
        for row in rows
    )


def draw(results: Sequence[Result], metric: str, path: Path) -> bool:
    """Draws the metric over each flag that is a number, into a PNG file.

    Args:
        results: the results.
        metric: its name.
        path: the file.

    Returns:
        Whether there was anything to draw.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    shown = [result for result in results if not math.isnan(result.value)]
    numeric = {
        name: values
        for name in (results[0].point if results else ())
        if (values := _numbers([result.point[name] for result in shown]))
        and len(set(values)) > 1
    }
    if not numeric:
        return False
    figure = Figure((4.4 * len(numeric), 3.6), 100, layout="constrained")
    for number, (name, values) in enumerate(numeric.items(), 1):
        axes = figure.add_subplot(1, len(numeric), number, xlabel=name)
        axes.set_ylabel(f"best validation {metric}")
        axes.grid(color="#dddddd")
        if min(values) > 0 and max(values) / min(values) > 20:
            axes.set_xscale("log")
        ordered = sorted(zip(values, (result.value for result in shown)))
        line = "-" if len(numeric) == 1 else ""
        axes.plot(*zip(*ordered), marker="o", linestyle=line, color="#0072b2")
    figure.savefig(path)
    return True


def _numbers(texts: Sequence[str]) -> list[float]:
    """Returns texts as finite numbers; none if one is not."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []
