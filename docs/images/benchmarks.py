r"""Draws overlap.svg and neighbours.svg: measurements of docs/performance.md.

PYTHONPATH=. python docs/images/benchmarks.py \\
    logs/overlap/results.json logs/neighbours/results.json
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tests.benchmarks.overlap import plot
from tests.benchmarks.overlap.__main__ import TITLES, Case

HERE = Path(__file__).parent

# Distinguishable with color vision deficiency.
COLORS = {
    "distmnist_1": ("distmnist, 1 rank", "#56b4e9"),
    "distmnist_2": ("distmnist, 2 ranks", "#0072b2"),
    "distmnist_4": ("distmnist, 4 ranks", "#cc79a7"),
    "torch_ddp_2": ("PyTorch DDP over Gloo, 2 ranks", "#999999"),
}


def draw_overlap(results: dict[str, Any]) -> None:
    """Draws step times over the shortest possible."""
    medians = {}
    for row in results["cases"]:
        case = Case(row["kind"], row["ranks"], row["gigabits"], row["megabytes"])
        seconds = row["seconds"].items()
        medians[case] = {name: statistics.median(times) for name, times in seconds}
    plot.draw(medians, TITLES, HERE / "overlap.svg")


def draw_neighbours(results: dict[str, Any]) -> None:
    """Draws examples per second, for each case and contender."""
    cases = results["cases"]
    figure = Figure(figsize=(9, 0.75 * len(cases) + 1.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(COLORS)
    for index, (name, (title, color)) in enumerate(COLORS.items()):
        rates = [case["examples_per_second"].get(name, [0]) for case in cases]
        places = [row + (index + 0.5) * width - 0.4 for row in range(len(cases))]
        axes.barh(places, list(map(statistics.median, rates)), width, color=color)
        axes.plot([], [], color=color, linewidth=8, label=title)
    titles = [case["case"].replace("1 cores", "1 core") for case in cases]
    titles = [title.replace("0.5 cores", "half a core") for title in titles]
    axes.set_yticks(range(len(cases)), titles)
    axes.invert_yaxis()
    axes.set_xlabel("examples per second, sum over ranks")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(HERE / "neighbours.svg", metadata={"Date": None})


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "distmnist"  # the same file each time
    overlap, neighbours = (json.loads(Path(path).read_text()) for path in sys.argv[1:])
    draw_overlap(overlap)
    draw_neighbours(neighbours)
