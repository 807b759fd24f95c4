"""Predicts the scaling of training to more workers than this machine can run.

python -m tests.benchmarks.scaling [--repeats=N] [--out=DIR] [--data=DIR]

Measures MPI's ring allreduce at 2 and 4 ranks on this machine, fits the model of
ring.py and reports its errors. Then evaluates the model with published constants of
interconnects. Prints tables, and writes scaling.json and scaling.png.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distmnist.distributed import cores
from tests.benchmarks import (
    data,
    environment,
    processes,
    ring,
    scaling_plot,
    tables,
)
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measuring import NUM_GRADIENTS
from tests.benchmarks.predictions import (
    BUCKETS,
    FABRICS,
    RESNET,
    WORKERS,
    Network,
    predict,
)
from tests.benchmarks.ring import Point, Ring
from tests.launching import MPIRUN

MEASURED_WORKERS = (2, 4)
SIZES = tuple(4**power * 1024 for power in range(8))  # 1 kB to 16 MB

# Select Open MPI's ring algorithm (4) for all sizes.
_RING = {
    "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
    "OMPI_MCA_coll_tuned_allreduce_algorithm": "4",
}
_TIMEOUT = 180  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, fits, predicts and prints.

    Args:
        argv: Command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a measurement failed.
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
    scaling_plot.draw(points, fits, FABRICS, networks, options.out / "scaling.png")
    print(f"\nWritten to {options.out}")
    return 0


def measure_allreduce(repeats: int) -> list[Point]:
    """Measures MPI's ring allreduce on this machine.

    Args:
        repeats: Number of measurements.

    Returns:
        The medians.

    Raises:
        RuntimeError: A measurement failed; with its output.
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
    """Returns the step time of distmnist on one worker, in seconds.

    Args:
        directory: MNIST directory; "" for random images.

    Raises:
        RuntimeError: The measurement failed; with its output.
    """
    contender = next(each for each in CONTENDERS if each.name == "distmnist_1")
    outcome = processes.run(contender.command([f"--data={directory}"]), _TIMEOUT)
    if outcome.failure:
        raise RuntimeError(outcome.failure)
    return float(outcome.result["step_seconds"])


def errors(points: Sequence[Point], model: Ring) -> dict[str, float]:
    """Returns the median and the largest relative error of a model."""
    found = [abs(model.error(point)) for point in points]
    return {"median_error": statistics.median(found), "largest_error": max(found)}


def at(points: Sequence[Point], workers: int) -> list[Point]:
    """Returns the points with a number of workers."""
    return [point for point in points if point.workers == workers]


def fit_each(points: Sequence[Point]) -> dict[int, Ring]:
    """Fits a model for each number of workers, because workers may share cores."""
    return {workers: ring.fit(at(points, workers)) for workers in MEASURED_WORKERS}


def show(
    points: Sequence[Point],
    fits: Mapping[int, Ring],
    networks: Sequence[Network],
    predictions: Sequence[dict[str, Any]],
) -> None:
    """Prints measurements, model and predictions."""
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
    print(
        tables.table(("allreduce", "ranks", "measured us", "model us", "error"), rows)
    )
    print(f"\nValidated on {cores.available()} cores, with shared memory only:")
    for workers, model in fits.items():
        found = errors(at(points, workers), model)
        print(
            f"- {workers} ranks: latency {model.alpha * 1e6:.1f} us, "
            f"{1e-9 / max(model.beta, 1e-15):.2f} GB/s; median "
            f"error {found['median_error']:.0%}, largest "
            f"{found['largest_error']:.0%}."
        )
    found = errors(points, ring.fit(points))
    print(
        f"- One model for both: median error {found['median_error']:.0%}, because "
        "ranks share cores.\n\n"
        "The rest is extrapolation from published constants:"
    )
    for fabric in FABRICS:
        print(f"- {fabric.name}: {fabric.source}.")
    print(
        "Not modelled: Horovod's negotiation, stragglers, shared switches, and tree "
        "algorithms\nfor small messages.\n"
        "Weak-scaling efficiency, with all gradients sent at the end, and in the best "
        f"number of\nbuckets up to {BUCKETS[-1]}, sent while others are computed.\n"
        "* More workers than the interconnect supports."
    )
    for network in networks:
        milliseconds = f"{network.compute * 1e3:.2f} ms per step"
        print(f"\n{network.name}: {milliseconds} ({network.source})")
        print(efficiency_table(network, predictions))


def efficiency_table(network: Network, predictions: Sequence[dict[str, Any]]) -> str:
    """Returns the predicted efficiencies of one network."""
    rows: dict[str, list[str]] = {}
    for each in predictions:
        if each["network"] == network.name:
            none, most = each["efficiency"], each["efficiency_with_buckets"]
            star = "" if each["exists"] else " *"
            cells = rows.setdefault(each["fabric"], [each["fabric"]])
            cells.append(f"{none:.0%} to {most:.0%}{star}")
    return tables.table(("workers", *map(str, WORKERS)), list(rows.values()))


if __name__ == "__main__":
    sys.exit(main())
