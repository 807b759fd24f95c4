"""Plot of the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks import summary
from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.measuring import BATCH_SIZE
from tests.benchmarks.summary import Medians
from tests.benchmarks.tables import Summary, take_medians

# Distinguishable with color vision deficiency.
OWN_COLOR = "#0072b2"
PEER_COLOR = "#999999"
LIMIT_COLOR = "#d55e00"


def draw(measured: Summary, path: Path) -> None:
    """Plots the throughput of each contender and the duration of complete jobs.

    Args:
        measured: Results of all contenders.
        path: PNG to write.
    """
    one = _shown(measured, ("distmnist", "peer"), (1,))
    several = _shown(measured, ("distmnist", "peer"), (2, 4))
    jobs = _shown(measured, ("job",), (1, 2))
    panels = [shown for shown in (one, several, jobs) if shown]
    if not panels:
        return
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9, 1.2 * len(panels) + 0.3 * sum(map(len, panels))),
        layout="constrained",
        height_ratios=[len(shown) + 1 for shown in panels],
        squeeze=False,
    )
    for axis, shown in zip(axes[:, 0], panels):
        if shown is jobs:
            _bars(axis, measured, shown, "wall_seconds")
            axis.set_title("Complete job", loc="left", fontweight="bold")
            axis.set_xlabel("seconds, including start and end of the process")
            continue
        _bars(axis, measured, shown, "examples_per_second")
        _limit(axis, take_medians(measured), 1 if shown is one else 2)
        title = "One process" if shown is one else "Several processes"
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel("examples per second, sum over ranks")
        axis.locator_params(axis="x", nbins=6)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _shown(
    measured: Summary, kinds: Sequence[str], ranks: Sequence[int]
) -> list[Contender]:
    """Returns the contenders of a panel."""
    return [
        each
        for each in CONTENDERS
        if each.kind in kinds and each.ranks in ranks and each.name in measured
    ]


def _bars(axis: Axes, measured: Summary, shown: list[Contender], key: str) -> None:
    """Plots a bar for each contender, with its quartiles and its value."""
    spreads = [measured[each.name][key] for each in shown]
    own = [each.kind == "distmnist" or not each.module for each in shown]
    titles = [
        f"{each.title}, {each.ranks} rank{'s' * (each.ranks > 1)}" for each in shown
    ]
    axis.barh(
        titles,
        [each.median for each in spreads],
        color=[OWN_COLOR if mine else PEER_COLOR for mine in own],
        xerr=[
            [each.median - each.low for each in spreads],
            [each.high - each.median for each in spreads],
        ],
        error_kw={"capsize": 3, "ecolor": "black", "elinewidth": 1},
    )
    for row, each in enumerate(spreads):
        digits = 0 if each.median > 100 else 1
        axis.annotate(
            f"{each.median:,.{digits}f}",
            (each.high, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)


def _limit(axis: Axes, medians: Medians, ranks: int) -> None:
    """Plots the limit as a labelled line."""
    shortest = summary.limit(medians, ranks)
    if not shortest:
        return
    rate = ranks * BATCH_SIZE / shortest
    axis.set_xlim(right=max(axis.get_xlim()[1], rate * 1.12))
    axis.axvline(rate, color=LIMIT_COLOR, linestyle="--")
    parts = "matrix products" if ranks == 1 else f"{ranks} ranks: products + allreduce"
    axis.annotate(
        f"limit: {parts}",
        (rate, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-6, 8),
        textcoords="offset points",
        ha="right",
        color=LIMIT_COLOR,
    )
