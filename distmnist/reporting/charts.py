"""Curves of runs, drawn by Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

# Okabe and Ito's, without their green and red: told apart by the color-blind too, and
# the styles by who sees no color at all.
_COLORS = ("#0072b2", "#e69f00", "#000000", "#56b4e9", "#cc79a7", "#7f7f7f")
_STYLES = ("-", "--", ":", "-.")

Curve = tuple[Sequence[float], Sequence[float]]


def draw(
    title: str, x: str, y: str, curves: Mapping[str, Curve], log: bool = False
) -> Figure:
    """Draws curves in one chart.

    Args:
        title: what it shows.
        x: name of the axis, with its unit.
        y: name of the other.
        curves: points by the name of the curve.
        log: whether the y axis is logarithmic.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x, ylabel=y)
    axes.grid(color="#dddddd")
    if log:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(useOffset=False)
        axes.yaxis.set_major_formatter("{x:,.10g}")
    for index, (name, (xs, ys)) in enumerate(curves.items()):
        axes.plot(
            xs,
            ys,
            label=name,
            color=_COLORS[index % len(_COLORS)],
            linestyle=_STYLES[index % len(_STYLES)],
            marker="o" if len(xs) < 20 else "",
            markersize=4,
        )
    if curves:
        axes.legend()
    return figure


def svg(figure: Figure) -> str:
    """Returns a chart as an element of HTML."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
