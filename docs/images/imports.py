"""Draws imports.svg: the imports between the packages of distmnist.

The layers, from top to bottom, are those of the import contract in pyproject.toml.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grimp
import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Arc

ROOT = Path(__file__).parents[2]


def layers() -> list[list[str]]:
    """Returns the modules of each layer of the contract, from top to bottom."""
    contract = (ROOT / "pyproject.toml").read_text().split("layers = [")[1]
    lines = re.findall(r'"([\w |()]+)"', contract.split("]")[0])
    return [re.findall(r"\w+", line) for line in lines]


def imports(names: list[list[str]]) -> set[tuple[int, int]]:
    """Returns the pairs of layers of which the first imports the second."""
    graph = grimp.build_graph("distmnist", cache_dir=None)
    layer_of = {name: index for index, line in enumerate(names) for name in line}
    pairs = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            if importer.count(".") and imported.count("."):
                pair = tuple(layer_of[m.split(".")[1]] for m in (importer, imported))
                pairs.add((pair[0], pair[1]))
    return {(above, below) for above, below in pairs if above != below}


def draw() -> Figure:
    """Draws a line per layer, and an arc per import, from the importer downwards."""
    names = layers()
    count = len(names)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot(xlim=(-7, 6.5), ylim=(-count + 0.4, 0.6), aspect=1)
    axes.axis("off")
    for index, line in enumerate(names):
        axes.text(-0.25, -index, "  ".join(line), ha="right", va="center", fontsize=11)
        axes.plot(0, -index, "o", color="black", markersize=4)
    for above, below in sorted(imports(names)):
        span = below - above
        arc = Arc((0, -(above + below) / 2), span, span, theta1=-90, theta2=90)
        arc.set_color(matplotlib.colormaps["tab20"](above))
        axes.add_patch(arc)
    return figure


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "distmnist"  # the same file each time
    output = sys.argv[1] if sys.argv[1:] else Path(__file__).with_suffix(".svg")
    draw().savefig(output, metadata={"Date": None, "Creator": None})
