"""Publishes the lines of metrics.jsonl that a tracker does not have yet.

A run that continues from a checkpoint logs the steps after it again. They have the same
values, so what is published of each series only ever goes on: nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from distmnist.core import registry
from distmnist.core.errors import UserError
from distmnist.core.run_directory import RunDirectory
from distmnist.core.trackers import TRACKERS
from distmnist.reporting import lines
from distmnist.reporting.lines import Line
from distmnist.tracking.state import State
from distmnist.tracking.tracker import Description, Point, Tracker

# Of training, that are published.
_TRAIN = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "examples_per_sec",
    "goodput",
    "epoch",
    "consumed",
)
_SOFTWARE = ("distmnist", "tensorflow", "horovod", "python", "system", "device", "size")
_MOST_CHARACTERS = 300  # of an error


class Publisher:
    """Publishes one run to one tracker."""

    def __init__(
        self,
        directory: RunDirectory,
        create: Callable[[Description, str], Tracker],
        state: State,
    ):
        """Publishes nothing yet.

        Args:
            directory: of the run.
            create: creates the tracker, from its arguments.
            state: what the tracker has already.
        """
        self._directory = directory
        self._create = create
        self._state = state
        self._tracker: Tracker | None = None

    @property
    def where(self) -> str:
        """Where the run is published; "" if nothing is."""
        return self._tracker.where if self._tracker else ""

    def publish(self) -> None:
        """Publishes what is new.

        Raises:
            Exception: any, of the tracker; then nothing counts as published.
        """
        logged = lines.read(self._directory.metrics)
        if self._tracker is None:
            self._tracker = self._start(logged)
        steps = dict(self._state.steps)
        points = list(_new_points(logged, steps))
        if points:
            self._tracker.log(sorted(points, key=lambda point: point.step))
            self._state.steps = steps
            self._state.save()

    def end(self, finished: bool) -> None:
        """Ends the run of the tracker; does nothing without one.

        Args:
            finished: the run has reached its end.

        Raises:
            Exception: any, of the tracker.
        """
        if self._tracker:
            self._tracker.end(finished)

    def _start(self, logged: list[Line]) -> Tracker:
        starts = [line for line in logged if line["kind"] == "start"]
        text = self._directory.flags.read_text(errors="replace")
        flags = (line.removeprefix("--").partition("=") for line in text.splitlines())
        last = starts[-1] if starts else {}
        description = Description(
            self._directory.path,
            {name: value for name, _, value in flags},
            {name: str(last[name]) for name in _SOFTWARE if name in last},
        )
        tracker = self._create(description, self._state.run)
        self._state.run = tracker.run
        self._state.save()
        return tracker


def load(name: str) -> Callable[[Description, str], Tracker]:
    """Returns what creates a tracker.

    Args:
        name: its name in `TRACKERS`.
    """
    create: Callable[[Description, str], Tracker]
    create = registry.load("trackers", name, TRACKERS)
    return create


def describe_error(error: Exception) -> str:
    """Returns an error, of a tracker or of the run's files, in one line."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_MOST_CHARACTERS]}"


def _new_points(logged: list[Line], steps: dict[str, int]) -> Iterator[Point]:
    """Yields what is not published yet.

    Args:
        logged: all lines.
        steps: last published step of each series; updated.
    """
    for line in logged:
        series, values = _values(line)
        if values and line["step"] > steps.get(series, -1):
            steps[series] = line["step"]
            named = {f"{series}/{name}": float(v) for name, v in values.items()}
            yield Point(line["step"], line["time"], named)


def _values(line: Line) -> tuple[str, Mapping[str, float]]:
    """Returns the series of a line, such as "train", and its values by name."""
    if line["kind"] == "train":
        return "train", {
            name: line[name] for name in _TRAIN if line.get(name) is not None
        }
    if line["kind"] == "eval":
        # A whole split, where "train" is the last batch.
        return f"eval/{line['split']}", line["metrics"]
    return line["kind"], {}
