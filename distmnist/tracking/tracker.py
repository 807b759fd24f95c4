"""The interface of experiment trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Point(NamedTuple):
    """Values of a step.

    Attributes:
        step: completed steps.
        time: when they were measured, in seconds since 1970.
        values: by name, such as "train/loss" and "test/accuracy".
    """

    step: int
    time: float
    values: Mapping[str, float]


class Description(NamedTuple):
    """What a run is.

    Attributes:
        directory: run directory.
        config: the run's flags, as text.
        software: versions and device, and the number of workers.
    """

    directory: Path
    config: Mapping[str, str]
    software: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.directory.resolve().name


class Tracker(Protocol):
    """A run of a tracker. All methods may raise anything: training goes on without.

    A class is created with the description of the run, and the identifier that the
    tracker has given it before, or "".

    Attributes:
        run: identifier of the run.
        where: where people find it.
    """

    run: str
    where: str

    def log(self, points: Sequence[Point]) -> None:
        """Publishes points, in the order of steps."""

    def end(self, finished: bool) -> None:
        """Publishes what is buffered.

        Args:
            finished: the run has reached its end; else it is continued, or not.
        """
