"""Plot of step times over the shortest possible."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

# Distinguishable with color vision deficiency, as are the markers.
_COLORS = ("#0072b2", "#56b4e9", "#e69f00", "#999999")
_MARKERS = ("o", "s", "D", "^")
_LIMITS = ("alone", "bare")


def draw(
    medians: Mapping[Any, Mapping[str, float]], titles: Mapping[str, str], to: Path
) -> None:
    """Plots a panel for each kind of backward pass, number of ranks, and network.

    Args:
        medians: step times in seconds, by case and name of the contender.
        titles: of the contenders, by name.
        to: file to write, of a format that its name says.
    """
    drawn = [case for case, found in medians.items() if set(_LIMITS) <= set(found)]
    panels = [
        (panel, list(cases))
        for panel, cases in itertools.groupby(drawn, lambda case: case[:3])
    ]
    if not panels:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(5 * columns, 3.2 * rows + 0.9),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, ((kind, ranks, gigabits), cases) in zip(axes.flat, panels):
        names = [name for name in titles if name not in _LIMITS]
        for name, color, marker in zip(names, _COLORS, _MARKERS):
            points = [
                (
                    case.megabytes,
                    medians[case][name] / max(medians[case][n] for n in _LIMITS),
                )
                for case in cases
                if name in medians[case]
            ]
            if points:
                axis.plot(*zip(*points), color=color, marker=marker, label=titles[name])
        axis.axhline(1, color="#d55e00", linestyle="--", linewidth=1)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0.9)
        leaves = "leaves the CPU alone" if kind == "sleep" else "takes a core"
        axis.set_title(
            f"Backward pass {leaves},\n{ranks} ranks, {gigabits:g} Gbit/s", loc="left"
        )
        axis.set_xlabel("MB of gradients")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("step time over the shortest possible")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
    figure.savefig(to, dpi=120, metadata={"Date": None} if to.suffix == ".svg" else {})
    plt.close(figure)
