"""The scaling model against hosts with a network: steps that it was not fitted to.

The model of ring.py is fitted to bare allreduces between two hosts, for each rate of
the network, and predicts steps of all sizes, with one bucket and with several, and on
more hosts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.benchmarks import ring, tables
from tests.benchmarks.overlap import backward
from tests.benchmarks.ring import Point

_BUCKETS = {"flat": 1, "buckets": backward.LAYERS}


class Prediction(NamedTuple):
    """A step, as predicted and as measured.

    Attributes:
        case: what is trained where.
        name: of the contender.
        predicted: in seconds.
        measured: in seconds.
    """

    case: Any
    name: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The relative error of the prediction."""
        return self.predicted / self.measured - 1


def predict(medians: Mapping[Any, Mapping[str, float]]) -> list[Prediction]:
    """Returns predictions of the steps whose backward passes leave the CPU alone.

    Args:
        medians: step times in seconds, by case and name of the contender.
    """
    found = []
    for gigabits in dict.fromkeys(case.gigabits for case in medians):
        points = [
            Point(int(case.megabytes * 1e6), case.ranks, times["bare"])
            for case, times in medians.items()
            if "bare" in times and (case.ranks, case.gigabits) == (2, gigabits)
        ]
        if len({point.size for point in points}) < 2:
            continue
        model = ring.fit(points)
        for case, times in medians.items():
            if case.kind != "sleep" or case.gigabits != gigabits:
                continue
            for name, buckets in _BUCKETS.items():
                if {name, "alone"} <= set(times):
                    size = int(case.megabytes * 1e6)
                    compute = times["alone"]
                    step = model.step(compute, size, case.ranks, buckets)
                    found.append(Prediction(case, name, step, times[name]))
    return found


def table(predictions: list[Prediction]) -> str:
    """Returns a Markdown table of the predictions, and the median error."""
    rows = [
        (
            f"{each.case.ranks}",
            f"{each.case.gigabits:g}",
            f"{each.case.megabytes:g}",
            each.name,
            f"{1000 * each.predicted:.0f}",
            f"{1000 * each.measured:.0f}",
            f"{each.error:+.0%}",
        )
        for each in predictions
    ]
    titles = ("ranks", "Gbit/s", "MB", "", "predicted ms", "measured ms", "error")
    median = statistics.median(abs(each.error) for each in predictions)
    return f"{tables.table(titles, rows)}\nMedian error: {median:.0%}"
