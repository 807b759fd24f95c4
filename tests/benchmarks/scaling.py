"""Predicts how training scales to more workers than can be measured here.

python -m tests.benchmarks.scaling [--repeats=N] [--out=DIR] [--data=DIR]

Measures MPI's ring allreduce at 2 and 4 ranks on this machine, fits the model of
ring.py to it, and says how well it fits.  Then puts the documented constants of
networks into the model.  Prints tables, and writes scaling.json and scaling.png.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distmnist.distributed import process
from tests.benchmarks import data, environment, processes, ring, tables
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measuring import NUM_GRADIENTS
from tests.benchmarks.ring import Point, Ring
from tests.launching import MPIRUN

MEASURED_WORKERS = (2, 4)
SIZES = tuple(4**power * 1024 for power in range(8))  # 1 kB to 16 MB
WORKERS = (8, 16, 32, 64, 128, 256, 512, 1024)

# Open MPI's ring (4) for all sizes, as the model is of a ring.
_RING = {
    "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
    "OMPI_MCA_coll_tuned_allreduce_algorithm": "4",
}
_TIMEOUT = 180  # seconds


class Fabric(NamedTuple):
    """A network between workers.

    Attributes:
        name: of the network.
        ring: its constants.
        largest: the most workers that one such network joins, as built today.
        source: of the constants.
    """

    name: str
    ring: Ring
    largest: int
    source: str


FABRICS = (
    Fabric(
        "10 GbE",
        Ring(15e-6, 1 / 1.25e9),
        1024,
        "bandwidth: line rate; latency: half of the round trip of 30 us between two "
        'tuned Linux hosts in Cloudflare, "How to achieve low latency with 10Gbps '
        'Ethernet", 2015',
    ),
    Fabric(
        "100 Gb InfiniBand",
        Ring(14e-6, 1 / 12e9),
        1024,
        "NCCL's own model: bandwidth NET_BW in src/graph/topo.h (12 GB/s); latency "
        "hwLat, NET, ring, Simple in src/graph/tuning.cc (14 us)",
    ),
    Fabric(
        "NVLink (A100)",
        Ring(3.4e-6, 1 / 240e9),
        8,
        "NCCL's own model: bandwidth 12 links of SM80_NVLINK_BW in src/graph/topo.h "
        "(20 GB/s); latency hwLat, NVLINK, ring, Simple in src/graph/tuning.cc "
        "(3.4 us); a DGX A100 joins 8",
    ),
)


class Network(NamedTuple):
    """A neural network to train.

    Attributes:
        name: of it.
        gradients: number of its float32 gradients.
        compute: seconds of a step on one worker.
        source: of the seconds.
    """

    name: str
    gradients: int
    compute: float
    source: str


# NVIDIA DeepLearningExamples, PyTorch/Classification/ConvNets: ResNet-50 in TF32 on 8
# A100, 5,322 images/s.
RESNET = Network(
    "25 M parameters",
    25_000_000,
    64 / (5322 / 8),
    "assumed: a batch of 64 at 665 images/s, what NVIDIA's DeepLearningExamples "
    "tell of ResNet-50 on an A100 in TF32",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, fits, predicts, and tells.

    Args:
        argv: the arguments; by default those of the process.

    Returns:
        The exit status: 1 if something could not be measured.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="default: 5")
    parser.add_argument("--out", type=Path, default=Path("logs/benchmark"))
    parser.add_argument(
        "--data", default=os.environ.get("DISTMNIST_TEST_MNIST", "data/mnist")
    )
    options = parser.parse_args(argv)
    directory = str(Path(options.data).resolve()) * data.is_mnist(options.data)
    try:
        points = measure_allreduce(options.repeats)
        compute = measure_compute(directory)
    except RuntimeError as error:
        print(error)
        return 1
    fits = fit_each(points)
    networks = (
        Network(
            "this network",
            NUM_GRADIENTS,
            compute,
            "measured: a step of distmnist at 1 rank on this machine's cores",
        ),
        RESNET,
    )
    predictions = predict(networks)
    show(points, fits, networks, predictions)
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "environment": environment.describe(directory),
        "points": [point._asdict() for point in points],
        "fits": [
            {
                "workers": workers,
                **model._asdict(),
                **errors(at(points, workers), model),
            }
            for workers, model in fits.items()
        ],
        "errors_of_one_fit_to_all": errors(points, ring.fit(points)),
        "fabrics": [
            {**fabric._asdict(), "ring": fabric.ring._asdict()} for fabric in FABRICS
        ],
        "networks": [network._asdict() for network in networks],
        "predictions": predictions,
    }
    (options.out / "scaling.json").write_text(json.dumps(content, indent=1) + "\n")
    try:
        from tests.benchmarks.scaling_plot import draw
    except ImportError as error:
        print(f"\nNo plot: {error}")
    else:
        draw(points, fits, FABRICS, networks, options.out / "scaling.png")
    print(f"\nWritten to {options.out}")
    return 0


def measure_allreduce(repeats: int) -> list[Point]:
    """Measures MPI's ring allreduce on this machine.

    Args:
        repeats: of the measurement; its medians count.

    Raises:
        RuntimeError: it failed; with its output.
    """
    sizes = ",".join(map(str, SIZES))
    program = [sys.executable, "-m", "tests.benchmarks.limits.allreduce"]
    seconds: dict[int, list[list[float]]] = {
        workers: [] for workers in MEASURED_WORKERS
    }
    for _ in range(repeats):
        for workers in MEASURED_WORKERS:
            command = [*MPIRUN, str(workers), *program, f"--bytes={sizes}"]
            outcome = processes.run(command, _TIMEOUT, _RING)
            if outcome.failure:
                raise RuntimeError(outcome.failure)
            seconds[workers].append(outcome.result["seconds"])
    return [
        Point(size, workers, statistics.median(column))
        for workers, rows in seconds.items()
        for size, column in zip(SIZES, zip(*rows))
    ]


def measure_compute(directory: str) -> float:
    """Returns the seconds of a step of distmnist on one worker.

    Args:
        directory: of MNIST, or "".

    Raises:
        RuntimeError: it failed; with its output.
    """
    contender = next(each for each in CONTENDERS if each.name == "distmnist_1")
    outcome = processes.run(contender.command([f"--data={directory}"]), _TIMEOUT)
    if outcome.failure:
        raise RuntimeError(outcome.failure)
    return float(outcome.result["step_seconds"])


def errors(points: Sequence[Point], model: Ring) -> dict[str, float]:
    """Returns how far a model is from measurements, as fractions of them."""
    found = [abs(model.error(point)) for point in points]
    return {"median_error": statistics.median(found), "largest_error": max(found)}


def at(points: Sequence[Point], workers: int) -> list[Point]:
    """Returns the points of so many workers."""
    return [point for point in points if point.workers == workers]


def fit_each(points: Sequence[Point]) -> dict[int, Ring]:
    """Returns the model of each number of workers.

    They would be one, if each worker had a core of its own.
    """
    return {workers: ring.fit(at(points, workers)) for workers in MEASURED_WORKERS}


def predict(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Returns the efficiency of every network on every fabric at every size."""
    rows = []
    for network in networks:
        for fabric in FABRICS:
            for workers in WORKERS:
                seconds = fabric.ring.seconds(4 * network.gradients, workers)
                rows.append(
                    {
                        "network": network.name,
                        "fabric": fabric.name,
                        "workers": workers,
                        "exists": workers <= fabric.largest,
                        "allreduce_seconds": seconds,
                        "efficiency": ring.efficiency(network.compute, seconds, False),
                        "efficiency_with_full_overlap": ring.efficiency(
                            network.compute, seconds, True
                        ),
                    }
                )
    return rows


def show(
    points: Sequence[Point],
    fits: Mapping[int, Ring],
    networks: Sequence[Network],
    predictions: Sequence[dict[str, Any]],
) -> None:
    """Prints measurements beside the model, and the predictions."""
    rows = []
    for point in points:
        model = fits[point.workers]
        rows.append(
            (
                f"{point.size // 1024:,} kB",
                str(point.workers),
                f"{point.seconds * 1e6:,.0f}",
                f"{model.seconds(point.size, point.workers) * 1e6:,.0f}",
                f"{model.error(point):+.0%}",
            )
        )
    print(tables.table(("allreduce", "ranks", "measured us", "model us", "off"), rows))
    print(f"\nChecked, on {process.cores()} cores and shared memory only:")
    for workers, model in fits.items():
        found = errors(at(points, workers), model)
        print(
            f"- {workers} ranks: latency {model.alpha * 1e6:.1f} us, "
            f"{1e-9 / max(model.beta, 1e-15):.2f} GB/s; off by "
            f"{found['median_error']:.0%} in the median, "
            f"{found['largest_error']:.0%} at most."
        )
    found = errors(points, ring.fit(points))
    print(
        f"- One model for both is off by {found['median_error']:.0%} in the median: "
        "ranks that share a core wait for it.\n\n"
        "All below is extrapolation, from constants that others tell:"
    )
    for fabric in FABRICS:
        print(f"- {fabric.name}: {fabric.source}.")
    print(
        "Not in the model: Horovod's negotiation, stragglers, shared switches, and "
        "the trees\nthat libraries take instead of a ring for small messages.\n"
        "Efficiency is that of weak scaling, from no overlap of allreduce and compute "
        "to full overlap.\n* More workers than one such network joins."
    )
    for network in networks:
        milliseconds = f"{network.compute * 1e3:.2f} ms a step"
        print(f"\n{network.name}: {milliseconds} ({network.source})")
        print(efficiency_table(network, predictions))


def efficiency_table(network: Network, predictions: Sequence[dict[str, Any]]) -> str:
    """Returns the predicted efficiencies of one network."""
    rows: dict[str, list[str]] = {}
    for each in predictions:
        if each["network"] == network.name:
            none, full = each["efficiency"], each["efficiency_with_full_overlap"]
            star = "" if each["exists"] else " *"
            cells = rows.setdefault(each["fabric"], [each["fabric"]])
            cells.append(f"{none:.0%} to {full:.0%}{star}")
    return tables.table(("workers", *map(str, WORKERS)), list(rows.values()))


if __name__ == "__main__":
    sys.exit(main())
