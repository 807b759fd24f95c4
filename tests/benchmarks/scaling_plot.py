"""Plot of the allreduce model and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from tests.benchmarks.predictions import BUCKETS, WORKERS, Fabric, Network, efficiency
from tests.benchmarks.ring import Point, Ring

# Distinguishable with color vision deficiency, as are the markers.
_COLORS = ("#0072b2", "#e69f00", "#cc79a7")
_MARKERS = ("o", "s", "D")


def draw(
    points: Sequence[Point],
    fits: Mapping[int, Ring],
    fabrics: Sequence[Fabric],
    networks: Sequence[Network],
    path: Path,
) -> None:
    """Plots the measurements, the model and the predicted efficiencies.

    Args:
        points: Measurements.
        fits: Models fitted to them, by number of workers.
        fabrics: Interconnects to predict for.
        networks: Neural networks to predict for.
        path: PNG to write.
    """
    figure, axes = plt.subplots(
        1, 1 + len(networks), figsize=(15, 4.8), layout="constrained"
    )
    _draw_fit(axes[0], points, fits)
    for axis, network in zip(axes[1:], networks):
        _draw_efficiency(axis, network, fabrics)
    axes[-1].legend(loc="lower left", frameon=False)
    figure.text(
        0.995,
        0.005,
        f"Lines: gradients sent at the end; shaded: up to {BUCKETS[-1]} buckets, sent "
        "while others are computed; "
        "dotted: more workers than the interconnect supports",
        ha="right",
        va="bottom",
        fontsize=9,
    )
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_fit(axis: Axes, points: Sequence[Point], fits: Mapping[int, Ring]) -> None:
    for (workers, model), color, marker in zip(fits.items(), _COLORS, _MARKERS):
        measured = [point for point in points if point.workers == workers]
        sizes = np.array([point.size for point in measured])
        times = np.array([point.seconds for point in measured])
        axis.plot(
            sizes, times * 1e6, marker, color=color, label=f"measured, {workers} ranks"
        )
        axis.plot(
            sizes,
            model.seconds(sizes, workers) * 1e6,
            color=color,
            label=f"model, {workers} ranks",
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes[::2], [f"{size // 1024:,}" for size in sizes[::2]])
    axis.set_xlabel("message size (kB)")
    axis.set_ylabel("allreduce time (µs)")
    axis.set_title("Validated: this machine", loc="left", fontweight="bold")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)


def _draw_efficiency(axis: Axes, network: Network, fabrics: Sequence[Fabric]) -> None:
    for fabric, color, marker in zip(fabrics, _COLORS, _MARKERS):
        found = np.array(
            [
                [efficiency(network, fabric, workers, buckets) for workers in WORKERS]
                for buckets in BUCKETS
            ]
        )
        none, most = found[0], found.max(axis=0)
        workers = np.array(WORKERS)
        exists = workers <= fabric.largest
        axis.plot(workers, none, ":" + marker, color=color, markersize=4)
        axis.plot(
            workers[exists], none[exists], "-" + marker, color=color, label=fabric.name
        )
        axis.fill_between(workers, none, most, color=color, alpha=0.15, linewidth=0)
    axis.set_xscale("log", base=2)
    axis.set_xticks(WORKERS, [f"{workers}" for workers in WORKERS])
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_ylim(0, 1.05)
    axis.set_ylabel("efficiency: compute / step")
    axis.set_xlabel(f"workers ({network.compute * 1e3:.2f} ms of compute per step)")
    axis.set_title(f"Extrapolated: {network.name}", loc="left", fontweight="bold")
    axis.grid(alpha=0.3)
