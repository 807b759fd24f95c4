"""Line charts, drawn by Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

# The palette of Okabe and Ito without green and red, which some readers cannot
# distinguish; the styles do without color.
_COLORS = ("#0072b2", "#e69f00", "#000000", "#56b4e9", "#cc79a7", "#7f7f7f")
_STYLES = ("-", "--", ":", "-.")

Curve = tuple[Sequence[float], Sequence[float]]
"""The x and the y values of the points."""


def draw(
    title: str, x: str, y: str, curves: Mapping[str, Curve], log: bool = False
) -> Figure:
    """Draws curves in one chart.

    Args:
        title: title of the chart.
        x: label of the x axis, with its unit.
        y: label of the y axis, with its unit.
        curves: curves by their names in the legend.
        log: use a logarithmic y axis.
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
    """Returns a chart as an HTML element."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
