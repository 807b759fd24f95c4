"""Statistics of repeated measurements, and the performance criteria."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.measuring import BATCH_SIZE

# Medians of all measurements of each contender, by its name.
Medians = Mapping[str, Mapping[str, float]]

EVALUATION_STEPS = 300  # most steps that a full evaluation may last as long as


class Spread(NamedTuple):
    """Repeated measurements of one quantity.

    Attributes:
        median: Median.
        low: Lower quartile.
        high: Upper quartile.
    """

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Returns median and quartiles of one or more values."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def summarize(
    repeats: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, dict[str, Spread]]:
    """Returns the spread of every quantity of each contender.

    Args:
        repeats: Results of successful runs, by name of the contender.
    """
    ranks = {contender.name: contender.ranks for contender in CONTENDERS}
    summary: dict[str, dict[str, Spread]] = {}
    for name, results in repeats.items():
        rows = [dict(result) for result in results]
        for row in rows:
            if "step_seconds" in row and not name.startswith("allreduce"):
                examples = BATCH_SIZE * ranks[name]
                row["examples_per_second"] = examples / row["step_seconds"]
        if rows:
            summary[name] = {
                key: spread([row[key] for row in rows])
                for key, value in rows[0].items()
                if isinstance(value, (int, float))
            }
    return summary


class Criterion(NamedTuple):
    """A performance criterion.

    Attributes:
        text: Description.
        ratio: Measured ratio; None if a measurement is missing.
        required: Minimum of the ratio; None for a comparison without requirement.
        than: Reference of the ratio, if it is the best of several.
    """

    text: str
    ratio: float | None
    required: float | None
    than: str = ""

    @property
    def verdict(self) -> str:
        """The result in a word."""
        if self.ratio is None:
            return "not measured"
        if self.required is None:
            return "for comparison"
        return "pass" if self.ratio >= self.required else "FAIL"


def best(
    medians: Medians, kind: str, ranks: int, prefix: str = "", tuned: bool = False
) -> Contender | None:
    """Returns the contender with the highest throughput.

    Args:
        medians: Medians of all contenders.
        kind: Kind of the contenders to choose from.
        ranks: Their number of ranks.
        prefix: Prefix of their names.
        tuned: Whether to include tuned contenders.

    Returns:
        The contender; None if none was measured.
    """
    chosen = [
        contender
        for contender in CONTENDERS
        if (contender.kind, contender.ranks) == (kind, ranks)
        and contender.name.startswith(prefix)
        and tuned >= contender.tuned
        and "examples_per_second" in medians.get(contender.name, {})
    ]
    return max(
        chosen, key=lambda each: medians[each.name]["examples_per_second"], default=None
    )


def limit(medians: Medians, ranks: int) -> float | None:
    """Returns the hardware limit: the shortest possible step, in seconds.

    For one rank, the matrix products alone. For more, the products on one core per
    rank, concurrently, followed by the bare allreduce.

    Args:
        medians: Medians of all contenders.
        ranks: Number of ranks.

    Returns:
        The limit; None if it was not measured.
    """
    products = best(medians, "limit", ranks, "products")
    if products is None:
        return None
    compute = medians[products.name]["step_seconds"]
    if ranks == 1:
        return compute
    allreduce = medians.get(f"allreduce_{ranks}", {}).get("step_seconds")
    return None if allreduce is None else compute + allreduce


def criteria(medians: Medians, model: str) -> list[Criterion]:
    """Evaluates the criteria.

    Args:
        medians: Medians of all contenders; entries may be missing.
        model: Name of the network, which has its own criteria.
    """

    def value(name: str, key: str) -> float | None:
        return medians.get(name, {}).get(key)

    def rate(name: str) -> float | None:
        return value(name, "examples_per_second")

    def compare(ranks: int, required: float | None, tuned: bool) -> Criterion:
        peer = best(medians, "peer", ranks, tuned=tuned)
        return Criterion(
            f"{_of(ranks)}: speed-up over the best peer"
            + ", tuned peers included" * tuned,
            _ratio(rate(f"distmnist_{ranks}"), peer and rate(peer.name)),
            required,
            peer.title if peer else "",
        )

    if model == "cnn":
        return [compare(ranks, 1.2, tuned=True) for ranks in (1, 2)]
    rows = [
        Criterion(
            "1 rank: speed-up over the tutorial's loop",
            _ratio(rate("distmnist_1"), rate("feed_dict")),
            2.7,
        ),
        compare(1, None, tuned=True),
        _of_limit(medians, 1, 0.75),
        compare(2, 4.5, tuned=False),
        compare(2, None, tuned=True),
        _of_limit(medians, 2, 0.65),
        Criterion(
            "4 ranks: throughput relative to 2 ranks",
            _ratio(rate("distmnist_4"), rate("distmnist_2")),
            0.85,
        ),
    ]
    for ranks in (1, 2):
        step = value(f"distmnist_{ranks}", "step_seconds")
        evaluation = value(f"distmnist_{ranks}", "evaluation_seconds")
        steps = None if step is None else step * EVALUATION_STEPS
        text = f"{_of(ranks)}: time of {EVALUATION_STEPS} steps / full evaluation"
        rows.append(Criterion(text, _ratio(steps, evaluation), 1.0))
    tutorial = value("job_tutorial", "wall_seconds")
    for contender in CONTENDERS:
        if contender.kind == "job" and contender.name != "job_tutorial":
            text = f"{_of(contender.ranks)}: complete job, tutorial / {contender.title}"
            wall = value(contender.name, "wall_seconds")
            rows.append(Criterion(text, _ratio(tutorial, wall), 1.0))
    return rows


def _of_limit(medians: Medians, ranks: int, required: float) -> Criterion:
    products = best(medians, "limit", ranks, "products")
    step = medians.get(f"distmnist_{ranks}", {}).get("step_seconds")
    return Criterion(
        f"{_of(ranks)}: fraction of the limit",
        _ratio(limit(medians, ranks), step),
        required,
        products.title + " + MPI Allreduce" * (ranks > 1) if products else "",
    )


def _of(ranks: int) -> str:
    return f"{ranks} rank{'s' * (ranks > 1)}"


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
