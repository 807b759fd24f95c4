"""The page: renders the report on runs as one HTML file, and its figures as files."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from distmnist.core.whole_files import WholeFiles
from distmnist.metrics import figures
from distmnist.reporting import charts, curves, evaluations, names, tables
from distmnist.reporting.curves import Chart
from distmnist.reporting.reader import RunRecord

# More digits would move no point of a curve.
_X_DECIMALS, _Y_DIGITS = 4, 6

_MARK = '<meta name="generator" content="distmnist.report">'


def is_report(path: str) -> bool:
    """Returns whether a file is a report, which may be overwritten."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _MARK in file.read(1000)
    except OSError:
        return False


def write(runs: Sequence[RunRecord], output: str, png_dir: str | None) -> None:
    """Writes the page, and the charts and images as files if requested: all or nothing.

    Args:
        runs: runs to show side by side.
        output: path of the HTML file.
        png_dir: directory for PNG files of all charts and images; None for no files.

    Raises:
        OSError: a file cannot be written.
    """
    short = names.shorten([run.name for run in runs])
    drawn = curves.charts(runs)
    legend = curves.legend(runs, short)
    loader = jinja2.PackageLoader("distmnist.reporting", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(fraction=tables.fraction, breakable=_breakable)
    # Files of this package: their text is not escaped, nor are they templates.
    environment.globals["include"] = lambda name: Markup(
        loader.get_source(environment, name)[0]
    )
    html = environment.get_template("page.html").render(
        runs=runs,
        names=short,
        legend=legend,
        style=curves.style,
        palettes={"light": curves.LIGHT, "dark": curves.DARK},
        charts=drawn,
        axes=curves.AXES,
        data={
            "axes": curves.AXES,
            "legend": legend,
            "colors": len(curves.LIGHT),
            "dashes": [curves.style(index)[1] for index in range(len(legend))],
            "charts": [_chart(chart) for chart in drawn],
        },
        facts=tables.facts(runs),
        results=tables.results(runs),
        views=[run.evaluation and evaluations.view(run.evaluation) for run in runs],
        now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    with WholeFiles() as files:
        # A file name may hold bytes that are not UTF-8.
        files.path(Path(output)).write_text(html, encoding="utf-8", errors="replace")
        if png_dir:
            _write_files(runs, drawn, legend, Path(png_dir), files)


def _write_files(
    runs: Sequence[RunRecord],
    drawn: Sequence[Chart],
    legend: Sequence[str],
    directory: Path,
    files: WholeFiles,
) -> None:
    """Writes charts and images as PNG files.

    Raises:
        OSError: a file cannot be written.
    """
    for chart in drawn:
        figure = charts.draw(chart, legend)
        figure.savefig(files.path(directory / f"{chart.name}.png"), dpi=150)
    for index, run in enumerate(runs):
        if run.evaluation is None:
            continue
        spec, results, mistakes, predictions = run.evaluation
        counts = results["test"].counts
        images = figures.draw(spec, counts, mistakes, predictions)
        for name, image in images.items():
            path = files.path(directory / f"{name}-{index}.png")
            Image.fromarray(image).save(path)


def _chart(chart: Chart) -> Mapping[str, Any]:
    """Returns a chart for the script of the page, in JSON types."""
    return {
        "unit": chart.unit,
        "log": chart.log,
        "curves": {
            index: {
                "x": {
                    axis: [round(value, _X_DECIMALS) for value in x.tolist()]
                    for axis, x in curve.x.items()
                },
                # JSON has only finite numbers.
                "y": [
                    float(f"{y:.{_Y_DIGITS}g}") if math.isfinite(y) else None
                    for y in curve.y
                ],
            }
            for index, curve in chart.curves.items()
        },
    }


def _breakable(text: str) -> Markup:
    """Escapes a text that may be broken behind its separators."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_=,-])", text))
