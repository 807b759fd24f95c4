"""When things happen that happen every so many steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Ramp(NamedTuple):
    """How the learning rate gets to that of the number of workers.

    Attributes:
        begin: completed steps at which it begins.
        rate: the rate there.
        steps: that it takes.
    """

    begin: int
    rate: float
    steps: int


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        step: completed steps.
        consumed: examples trained on, by all ranks together.
        loss: of the last global batch, before its step.
        seconds: spent in steps since the process began.
        ramp: of the learning rate, once the number of ranks has changed.
        gradient_norm: of the gradient of the last step, averaged over all ranks.
    """

    step: int
    consumed: int
    loss: float = float("nan")
    seconds: float = 0.0
    ramp: Ramp | None = None
    gradient_norm: float = float("nan")


class Task(Protocol):
    """What the training loop does at certain steps; all ranks do it."""

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` that the action follows."""

    def is_due(self, step: int, last_step: int) -> bool:
        """Tells whether the action follows this step."""

    @property
    def action(self) -> Callable[[Progress], None]:
        """What is done."""


class Periodic(NamedTuple):
    """An action that is taken every so many steps, and after the last one.

    Attributes:
        interval: in steps; 0 means after the last one only.
        action: what is done; all ranks do it.
    """

    interval: int
    action: Callable[[Progress], None]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` that the action follows."""
        if not self.interval:
            return last_step
        return min(last_step, (step // self.interval + 1) * self.interval)

    def is_due(self, step: int, last_step: int) -> bool:
        """Tells whether the action follows this step."""
        return self.next_step(step - 1, last_step) == step


class AtStops(NamedTuple):
    """An action that is taken wherever the loop stops for another task.

    Attributes:
        action: what is done; all ranks do it.
    """

    action: Callable[[Progress], None]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the last step: this task needs no stop of its own."""
        return last_step

    def is_due(self, step: int, last_step: int) -> bool:
        """Tells that the action follows this step."""
        return True
