"""The latency-bandwidth model of ring allreduce, and its predictions.

t(n, p) = 2 (p - 1) alpha + 2 (p - 1) / p n beta, for n bytes on p workers: each sends
2 (p - 1) messages of n / p bytes in sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """A measured allreduce.

    Attributes:
        size: Message size in bytes.
        workers: Number of workers.
        seconds: Duration in seconds.
    """

    size: int
    workers: int
    seconds: float


class Ring(NamedTuple):
    """The model and its two constants.

    Attributes:
        alpha: Latency of a message, in seconds.
        beta: Seconds per byte, the inverse of the bandwidth.
    """

    alpha: float
    beta: float

    def seconds(self, size: float, workers: int) -> float:
        """Returns the predicted duration of an allreduce in seconds."""
        messages, fraction = _terms(workers)
        return messages * self.alpha + fraction * size * self.beta

    def step(
        self,
        compute: float,
        size: float,
        workers: int,
        buckets: int = 1,
        forward: float = 0.0,
    ) -> float:
        """Returns the predicted duration of a step in seconds.

        The gradients' buckets are sent one after another, each once it is computed.

        Args:
            compute: Seconds of a step on one worker.
            size: Bytes of gradients.
            workers: Number of workers.
            buckets: Number of buckets, which are alike.
            forward: Seconds before the first gradient is begun, of `compute`.
        """
        end = 0.0
        for number in range(1, buckets + 1):
            computed = forward + (compute - forward) * number / buckets
            end = max(end, computed) + self.seconds(size / buckets, workers)
        return end

    def error(self, point: Point) -> float:
        """Returns the relative error of the prediction for a measurement."""
        return self.seconds(point.size, point.workers) / point.seconds - 1


def fit(points: Sequence[Point]) -> Ring:
    """Fits the model: least squares of relative errors, non-negative constants.

    Args:
        points: Two or more measurements, of different sizes.

    Returns:
        The fitted model.
    """
    rows = []
    for point in points:
        messages, fraction = _terms(point.workers)
        rows.append((messages / point.seconds, fraction * point.size / point.seconds))
    terms, ones = np.array(rows), np.ones(len(rows))
    alpha, beta = np.linalg.lstsq(terms, ones, rcond=None)[0]
    if alpha < 0 or beta < 0:  # then the optimum has this constant at 0
        alone = terms.T @ ones / (terms**2).sum(axis=0)
        alpha, beta = (0.0, alone[1]) if alpha < 0 else (alone[0], 0.0)
    return Ring(float(alpha), float(beta))


def _terms(workers: int) -> tuple[float, float]:
    """Returns the coefficients of latency and, per byte, of inverse bandwidth."""
    return 2.0 * (workers - 1), 2.0 * (workers - 1) / workers
