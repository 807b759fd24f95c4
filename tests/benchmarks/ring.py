"""The latency-bandwidth model of ring allreduce, and what it predicts.

t(n, p) = 2 (p - 1) alpha + 2 (p - 1) / p n beta, for n bytes on p workers: each sends
2 (p - 1) messages of n / p bytes, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """A measured allreduce.

    Attributes:
        size: bytes.
        workers: number of workers.
        seconds: what it took.
    """

    size: int
    workers: int
    seconds: float


class Ring(NamedTuple):
    """The model with its two constants.

    Attributes:
        alpha: latency of a message, in seconds.
        beta: seconds a byte, the inverse of the bandwidth.
    """

    alpha: float
    beta: float

    def seconds(self, size: float, workers: int) -> float:
        """Returns how long an allreduce of so many bytes takes."""
        messages, fraction = _terms(workers)
        return messages * self.alpha + fraction * size * self.beta

    def error(self, point: Point) -> float:
        """Returns by what fraction the model is above (below: < 0) a measurement."""
        return self.seconds(point.size, point.workers) / point.seconds - 1


def fit(points: Sequence[Point]) -> Ring:
    """Returns the model with the least squared relative errors, no constant below 0.

    Args:
        points: two or more, of different sizes.
    """
    rows = []
    for point in points:
        messages, fraction = _terms(point.workers)
        rows.append((messages / point.seconds, fraction * point.size / point.seconds))
    terms, ones = np.array(rows), np.ones(len(rows))
    alpha, beta = np.linalg.lstsq(terms, ones, rcond=None)[0]
    if alpha < 0 or beta < 0:  # then the best is where the one below 0 is 0
        alone = terms.T @ ones / (terms**2).sum(axis=0)
        alpha, beta = (0.0, alone[1]) if alpha < 0 else (alone[0], 0.0)
    return Ring(float(alpha), float(beta))


def efficiency(compute: float, communication: float, overlap: bool) -> float:
    """Returns the share of a step that is compute: weak scaling's efficiency.

    Args:
        compute: seconds of a step on one worker.
        communication: seconds of its allreduce.
        overlap: whether all communication runs beside compute; otherwise none does.
    """
    step = max(compute, communication) if overlap else compute + communication
    return compute / step


def _terms(workers: int) -> tuple[float, float]:
    """Returns how many messages follow one another, and what each byte counts."""
    return 2.0 * (workers - 1), 2.0 * (workers - 1) / workers
