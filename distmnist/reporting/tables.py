"""The tables of the report: results, and what differs between runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from distmnist.core.config import FAULTS, OUTPUT, Config
from distmnist.metrics.console import metric_title
from distmnist.reporting.reader import RunRecord

# Fields that describe neither the configuration nor the environment.
_OMITTED = ("kind", "step", "size", "time", "elapsed", "log_dir")

_MISSING = "-"

# Of the breakdown of a step: title and format.
_PARTS = {
    "step_ms": ("Step, ms", ",.3g"),
    "input_ms": ("Input, ms", ",.3g"),
    "compute_ms": ("Computing, ms", ",.3g"),
    "exposed_ms": ("Communication exposed, ms", ",.3g"),
    "hidden_ms": ("Communication hidden, ms", ",.3g"),
    "waiting_ms": ("Waiting for examples, ms", ",.3g"),
    "utilization": ("FLOP utilization", ".0%"),
}

# Fields of Config that do not influence the results.
_OPERATION = {"data_residency", "local_dir"} | {
    field.name
    for field in dataclasses.fields(Config)
    if field.metadata["group"] in (OUTPUT, FAULTS)
}


class Column(NamedTuple):
    """A column of the table of results: one cell per run.

    Attributes:
        title: what it shows.
        cells: formatted values.
        best: whether a cell is the best one of several that differ.
        numeric: whether the values are numbers.
    """

    title: str
    cells: Sequence[str]
    best: Sequence[bool]
    numeric: bool


def metric_names(runs: Sequence[RunRecord]) -> list[str]:
    """Returns the names of the metrics of evaluations: accuracy first, loss last.

    Args:
        runs: runs to compare.
    """
    names = dict.fromkeys(
        name
        for run in runs
        for lines in run.eval.values()
        for line in lines
        for name in line["metrics"]
    )
    return sorted(names, key=lambda name: (name == "loss") - (name == "accuracy"))


def results(runs: Sequence[RunRecord]) -> list[Column]:
    """Returns the columns of metrics.

    Args:
        runs: runs to compare.
    """
    data = {run.saved.dataset["fingerprint"] for run in runs if run.saved}

    def metric(split: str, name: str) -> Callable[[RunRecord], float | None]:
        return lambda run: (
            run.eval[split][-1]["metrics"].get(name) if split in run.eval else None
        )

    def newest(field: str) -> Callable[[RunRecord], float | None]:
        return lambda run: run.train[-1][field] if run.train else None

    def throughput(run: RunRecord) -> float | None:
        values = [line["examples_per_sec"] for line in run.train]
        return float(np.median(values)) if values else None

    def goodput(run: RunRecord) -> float | None:
        """Of the whole run: each line's is of the time since the line before it."""
        times = np.diff([0.0, *(line["elapsed"] for line in run.train)])
        shares = [line["goodput"] for line in run.train]
        if None in shares or not np.sum(times):
            return None
        return float(np.average(shares, weights=times))

    def part(name: str) -> Callable[[RunRecord], float | None]:
        return lambda run: run.breakdown.get(name)

    def column(
        title: str,
        value: Callable[[RunRecord], float | None],
        form: str,
        best: Callable[[Sequence[float]], float] | None = None,
    ) -> Column:
        values = [value(run) for run in runs]
        cells = [_MISSING if x is None else format(x, form) for x in values]
        finite = [x for x in values if x is not None and np.isfinite(x)]
        # Compared as shown: a difference that cannot be seen makes none the better.
        top = format(best(finite), form) if best and finite else None
        if len({cell for cell in cells if cell != _MISSING}) < 2:
            top = None
        return Column(title, cells, [cell == top for cell in cells], True)

    return [
        *(
            column(
                f"{metric_title(name)}, {split}",
                metric(split, name),
                ".4f" if name == "accuracy" else ",.5g",
                # Metrics on different data say nothing about which run is better.
                _better(name, runs) if len(data) < 2 else None,
            )
            for name in metric_names(runs)
            for split in ("test", "validation", "train")
        ),
        column("Loss, last global batch", newest("loss"), ".4g"),
        column("Examples/s, median", throughput, ",.0f", max),
        column("Time in steps", goodput, ".0%"),
        column("Steps", newest("step"), ",.0f"),
        column("Epochs", newest("epoch"), ",.4g"),
        *(
            column(title, part(name), form)
            for name, (title, form) in _PARTS.items()
            if any(run.breakdown for run in runs)
        ),
    ]


def _better(
    name: str, runs: Sequence[RunRecord]
) -> Callable[[Sequence[float]], float] | None:
    """Returns which values of a metric are better; None if that is not known."""
    if name == "accuracy":
        return max
    if name == "loss" or name.endswith("_error"):
        return min
    for run in runs:
        if run.saved and run.saved.config.best_metric.startswith(f"{name}:"):
            return max if run.saved.config.best_metric.endswith("max") else min
    return None


class Facts(NamedTuple):
    """Configuration and environment of runs.

    Attributes:
        settings: columns of settings that differ and influence the results.
        others: columns of the rest that differs.
        equal: what all runs have in common: values by name.
    """

    settings: Sequence[Column]
    others: Sequence[Column]
    equal: Mapping[str, str]


def facts(runs: Sequence[RunRecord]) -> Facts:
    """Returns the configuration and the environment of runs.

    Args:
        runs: runs to compare.
    """
    tables = [_facts(run) for run in runs]
    later = _OPERATION.union(*(run.start for run in runs))
    settings: list[Column] = []
    others: list[Column] = []
    equal: dict[str, str] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        cells = [table.get(name, _MISSING) for table in tables]
        # A run without a checkpoint has no known configuration: it does not differ.
        known = {table[name] for table in tables if name in table}
        if len(known) > 1:
            numeric = all(_is_number(cell) for cell in known)
            column = Column(name, cells, [False] * len(runs), numeric)
            (others if name in later else settings).append(column)
        else:
            equal[name] = known.pop()
    return Facts(settings, others, equal)


def _facts(run: RunRecord) -> dict[str, str]:
    """Returns the formatted configuration and environment of a run, by name."""
    values: dict[str, object] = {}
    newest = run.train[-1] if run.train else run.start
    if "size" in newest:
        values["workers"] = newest["size"]
    if run.saved:
        values["data set"] = run.saved.dataset["name"]
        values.update(dataclasses.asdict(run.saved.config))
    values.update(run.start)
    return {k: text(v) for k, v in values.items() if k not in _OMITTED}


def text(value: object) -> str:
    """Formats a value of a configuration."""
    if value in (None, (), "", {}):
        return _MISSING
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def fraction(value: float) -> str:
    """Formats a fraction; a dash for one that is not defined."""
    return _MISSING if np.isnan(value) else f"{value:.3f}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
