"""Charts as files, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from distmnist.reporting import curves
from distmnist.reporting.curves import Chart

_LINE_HEIGHT = 0.2  # of the legend, in inches


def draw(chart: Chart, names: Sequence[str]) -> Figure:
    """Draws a chart over epochs, with its legend below.

    Args:
        chart: the chart.
        names: names of all curves of the legend.
    """
    height = 3.8 + _LINE_HEIGHT * len(chart.curves)
    figure = Figure(figsize=(6.4, height), layout="constrained")
    label = curves.AXES[curves.EPOCHS]
    axes = figure.add_subplot(title=chart.title, xlabel=label, ylabel=chart.unit)
    axes.grid(color="#dddddd")
    # A logarithmic axis needs a number above 0.
    if chart.log and any((curve.y > 0).any() for curve in chart.curves.values()):
        axes.set_yscale("log", nonpositive="mask")
    else:
        axes.ticklabel_format(useOffset=False)
        axes.yaxis.set_major_formatter("{x:,.10g}")
    for index, curve in chart.curves.items():
        color, dash = curves.style(index)
        axes.plot(
            curve.x[curves.EPOCHS],
            np.where(np.isfinite(curve.y), curve.y, np.nan),
            label=names[index],
            color=curves.LIGHT[color],
            linestyle=(0, dash) if dash else "-",
            marker="o" if len(curve.y) < 20 else "",
            markersize=4,
        )
    if chart.curves:
        entries = figure.legend(loc="outside lower left", frameon=False, fontsize=8)
        for text in entries.get_texts():
            text.set_parse_math(False)
    return figure
