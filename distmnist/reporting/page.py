"""The report: the content of the page, and its rendering as HTML."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from distmnist.metrics import figures
from distmnist.reporting import charts
from distmnist.reporting.reader import RunRecord

# Fields of the "start" line of metrics.jsonl that do not describe the environment.
_NOT_OF_ENVIRONMENT = ("kind", "step", "size", "time")


def write(runs: Sequence[RunRecord], output: str, png_dir: str | None) -> None:
    """Writes the page, and the charts and images as files if requested.

    Args:
        runs: runs to show side by side.
        output: path of the HTML file.
        png_dir: directory for PNG files of all charts and images; None for no files.

    Raises:
        OSError: a file cannot be written.
    """
    curves = _charts(runs)
    images = {
        f"{kind}-{index}": image
        for index, run in enumerate(runs)
        for kind, image in _images(run).items()
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distmnist.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fraction"] = _fraction
    html = environment.get_template("page.html").render(
        runs=runs,
        charts={name: charts.svg(figure) for name, figure in curves.items()},
        images={name: _data_url(image) for name, image in images.items()},
        summary=_summary(runs),
        configuration=_rows(
            runs, lambda run: dataclasses.asdict(run.saved.config) if run.saved else {}
        ),
        environment=_rows(
            runs,
            lambda run: {
                key: value
                for key, value in run.start.items()
                if key not in _NOT_OF_ENVIRONMENT
            },
        ),
        now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(html, encoding="utf-8")
    if png_dir:
        Path(png_dir).mkdir(parents=True, exist_ok=True)
        for name, figure in curves.items():
            figure.savefig(Path(png_dir, f"{name}.png"), dpi=150)
        for name, image in images.items():
            Image.fromarray(image).save(Path(png_dir, f"{name}.png"))


def _charts(runs: Sequence[RunRecord]) -> dict[str, Figure]:
    """Draws the charts, by name."""
    epochs = "epochs (passes over the training split)"

    def training(field: str) -> dict[str, charts.Curve]:
        return {
            run.name: (
                [line["epoch"] for line in lines],
                [line[field] for line in lines],
            )
            for run in runs
            if (lines := [line for line in run.train if field in line])
        }

    def accuracy(run: RunRecord, split: str) -> charts.Curve:
        lines = run.eval.get(split, ())
        return (
            [run.epoch(line["step"]) for line in lines],
            [line["precision"] for line in lines],
        )

    if len(runs) == 1:
        title = "Accuracy on each split"
        accuracies = {split: accuracy(runs[0], split) for split in runs[0].eval}
    else:
        title = "Accuracy on the test split"
        accuracies = {run.name: accuracy(run, "test") for run in runs}
    return {
        "loss": charts.draw(
            "Loss of the last global batch",
            epochs,
            "cross-entropy (nats)",
            training("loss"),
            log=True,
        ),
        "precision": charts.draw(title, epochs, "accuracy (fraction)", accuracies),
        "throughput": charts.draw(
            "Throughput of all workers",
            epochs,
            "examples per second",
            training("examples_per_sec"),
        ),
        "gradient_norm": charts.draw(
            "Gradient norm",
            epochs,
            "L2 norm",
            training("gradient_norm"),
            log=True,
        ),
    }


def _images(run: RunRecord) -> dict[str, figures.Image]:
    """Draws the images of a run's evaluation, by kind."""
    if run.evaluation is None:
        return {}
    spec, results, mistakes = run.evaluation
    return {
        "confusion_matrix": figures.confusion_matrix(
            results["test"].confusion, spec.class_names, "test"
        ),
        "most_wrong": figures.most_wrong(mistakes, spec),
    }


def _summary(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """Returns the rows of the summary: a name, and a cell per run."""

    def row(name: str, cell: Callable[[RunRecord], object]) -> tuple[str, list[str]]:
        return name, [_number(cell(run)) for run in runs]

    def last(run: RunRecord, split: str) -> object:
        lines = run.eval.get(split)
        return f"{lines[-1]['precision']:.4f}" if lines else None

    def median(run: RunRecord, field: str) -> object:
        values = [line[field] for line in run.train]
        return round(float(np.median(values))) if values else None

    def newest(run: RunRecord, field: str) -> object:
        return run.train[-1][field] if run.train else None

    return [
        row("Accuracy, test", lambda run: last(run, "test")),
        row("Accuracy, validation", lambda run: last(run, "validation")),
        row("Accuracy, train", lambda run: last(run, "train")),
        row("Loss of the last global batch", lambda run: newest(run, "loss")),
        row("Workers", lambda run: newest(run, "size")),
        row("Steps", lambda run: newest(run, "step")),
        row("Epochs", lambda run: newest(run, "epoch")),
        row("Examples per second, median", lambda run: median(run, "examples_per_sec")),
        row("Data set", lambda run: run.saved and run.saved.dataset["name"]),
        row("Checkpoint step", lambda run: run.saved and run.saved.step),
    ]


def _rows(
    runs: Sequence[RunRecord], values: Callable[[RunRecord], Mapping[str, Any]]
) -> list[tuple[str, list[str], bool]]:
    """Returns the rows of a table: a name, a cell per run, whether the cells differ."""
    tables = [values(run) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = []
    for name in names:
        cells = [_number(table.get(name)) for table in tables]
        known = {cell for table, cell in zip(tables, cells) if table}
        rows.append((name, cells, len(known) > 1))
    return rows


def _number(value: object) -> str:
    """Formats a value for the page."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10000:
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _fraction(value: float) -> str:
    """Formats a fraction; "-" for one that is not defined."""
    return "-" if np.isnan(value) else f"{value:.3f}"


def _data_url(image: figures.Image) -> str:
    """Returns an image as a data URL."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
