"""The page that compares runs: what it says, and the HTML that it becomes."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from distmnist.checkpoint import inference
from distmnist.checkpoint.inference import Saved
from distmnist.core.errors import InputError, UserError
from distmnist.data import loading
from distmnist.distributed.cluster import Cluster
from distmnist.metrics import figures
from distmnist.metrics.evaluator import Evaluator, find_worst
from distmnist.metrics.types import Mistakes, Precision, Writer
from distmnist.metrics.writers import METRICS_FILE
from distmnist.reporting import charts

_NOT_OF_ENVIRONMENT = ("kind", "step", "size", "time")


class RunRecord(NamedTuple):
    """What a run has left behind.

    Attributes:
        name: its log directory.
        start: the newest "start" line of metrics.jsonl, if any.
        train: its "train" lines, in the order of steps.
        eval: its "eval" lines of each split, in the order of steps.
        saved: its newest checkpoint, if any.
        results: precision of that checkpoint, by split; empty if not to be had.
        worst: of the test split.
        remark: why there are no results.
    """

    name: str
    start: Mapping[str, Any]
    train: Sequence[Mapping[str, Any]]
    eval: Mapping[str, Sequence[Mapping[str, Any]]]
    saved: Saved | None
    results: Mapping[str, Precision]
    worst: Mistakes | None
    remark: str

    def epoch(self, step: int) -> float:
        """Returns how many passes over the training split a step ends."""
        steps = [0, *(line["step"] for line in self.train)]
        return float(
            np.interp(step, steps, [0, *(line["epoch"] for line in self.train)])
        )


def read(log_dir: str, alone: Cluster, input_data_dir: str | None = None) -> RunRecord:
    """Reads what a run has left behind, and evaluates its newest checkpoint.

    Args:
        log_dir: of the run.
        alone: a cluster of one.
        input_data_dir: of MNIST; by default where the run had it.

    Raises:
        InputError: there is no run, or it can't be read.
    """
    lines = _read_lines(Path(log_dir, METRICS_FILE))
    evals: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["kind"] == "eval":
            evals.setdefault(line["split"], []).append(line)
    starts = [line for line in lines if line["kind"] == "start"]
    saved = None
    results: Mapping[str, Precision] = {}
    worst, remark = None, ""
    try:
        saved = inference.find(log_dir, alone)
        dataset = loading.load_for(saved, alone, input_data_dir)
        splits = loading.to_tensors(dataset.splits)
        network = inference.load(saved, alone)
        results = Evaluator(splits, network, alone, Writer()).evaluate()
        worst = find_worst(splits["test"], network)
    except UserError as error:
        remark = str(error)
    return RunRecord(
        name=log_dir,
        start=starts[-1] if starts else {},
        train=[line for line in lines if line["kind"] == "train"],
        eval=evals,
        saved=saved,
        results=results,
        worst=worst,
        remark=remark,
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl."""
    lines = []
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give the --log_dir of a run"
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            lines.append(json.loads(line))
        except ValueError:
            if number < len(text.splitlines()):  # else the run was cut short
                raise InputError(
                    f"{path}, line {number}: is not JSON; delete the line"
                ) from None
    return lines


def write(runs: Sequence[RunRecord], output: str, png_dir: str | None) -> None:
    """Writes the page.

    Args:
        runs: to show, side by side.
        output: the HTML file.
        png_dir: directory to write all charts and pictures to; None: nowhere.

    Raises:
        OSError: a file can't be written.
    """
    figures = _charts(runs)
    images = {
        f"{kind}-{index}": picture
        for index, run in enumerate(runs)
        for kind, picture in _pictures(run).items()
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distmnist.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    html = environment.get_template("page.html").render(
        runs=runs,
        charts={name: charts.svg(figure) for name, figure in figures.items()},
        pictures={name: _data_url(picture) for name, picture in images.items()},
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
        for name, figure in figures.items():
            figure.savefig(Path(png_dir, f"{name}.png"), dpi=150)
        for name, picture in images.items():
            Image.fromarray(picture).save(Path(png_dir, f"{name}.png"))


def _charts(runs: Sequence[RunRecord]) -> dict[str, Figure]:
    """Returns the charts by name."""
    epochs = "epochs (passes over the training split)"

    def of_training(field: str) -> dict[str, charts.Curve]:
        return {
            run.name: (
                [line["epoch"] for line in lines],
                [line[field] for line in lines],
            )
            for run in runs
            if (lines := [line for line in run.train if field in line])
        }

    def precision(run: RunRecord, split: str) -> charts.Curve:
        lines = run.eval.get(split, ())
        return (
            [run.epoch(line["step"]) for line in lines],
            [line["precision"] for line in lines],
        )

    if len(runs) == 1:
        title = "Precision of each split"
        precisions = {split: precision(runs[0], split) for split in runs[0].eval}
    else:
        title = "Precision of the test split"
        precisions = {run.name: precision(run, "test") for run in runs}
    return {
        "loss": charts.draw(
            "Loss of the last batch",
            epochs,
            "cross-entropy (nats)",
            of_training("loss"),
            log=True,
        ),
        "precision": charts.draw(title, epochs, "precision @ 1 (fraction)", precisions),
        "throughput": charts.draw(
            "Throughput of all workers",
            epochs,
            "examples a second",
            of_training("examples_per_sec"),
        ),
        "gradient_norm": charts.draw(
            "Norm of the gradient",
            epochs,
            "L2 norm",
            of_training("gradient_norm"),
            log=True,
        ),
    }


def _pictures(run: RunRecord) -> dict[str, figures.Picture]:
    """Returns the pictures of a run by kind."""
    if run.worst is None:
        return {}
    matrix = run.results["test"].confusion
    return {
        "confusion_matrix": figures.confusion_matrix(matrix, "test"),
        "worst_digits": figures.mistakes(run.worst),
    }


def _summary(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """Returns the rows of the table that comes first: a name, a cell a run."""

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
        row("Precision @ 1, test", lambda run: last(run, "test")),
        row("Precision @ 1, validation", lambda run: last(run, "validation")),
        row("Precision @ 1, train", lambda run: last(run, "train")),
        row("Loss of the last batch", lambda run: newest(run, "loss")),
        row("Workers", lambda run: newest(run, "size")),
        row("Steps", lambda run: newest(run, "step")),
        row("Epochs", lambda run: newest(run, "epoch")),
        row("Examples a second, median", lambda run: median(run, "examples_per_sec")),
        row("Data set", lambda run: run.saved and run.saved.dataset["name"]),
        row("Checkpoint of step", lambda run: run.saved and run.saved.step),
    ]


def _rows(
    runs: Sequence[RunRecord], values: Callable[[RunRecord], Mapping[str, Any]]
) -> list[tuple[str, list[str], bool]]:
    """Returns the rows of a table: a name, a cell a run, whether they differ."""
    tables = [values(run) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = []
    for name in names:
        cells = [_number(table.get(name)) for table in tables]
        known = {cell for table, cell in zip(tables, cells) if table}
        rows.append((name, cells, len(known) > 1))
    return rows


def _number(value: object) -> str:
    """Returns a value as people read it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10000:
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _data_url(picture: figures.Picture) -> str:
    """Returns a picture as a URL that holds all of it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
