"""Training progress: the position of a run, and of its learning rate ramp."""

from __future__ import annotations

from typing import NamedTuple


class Ramp(NamedTuple):
    """A linear change of the learning rate after the number of ranks has changed.

    Attributes:
        begin: completed steps at which it begins.
        rate: learning rate at that step.
        steps: length in steps.
    """

    begin: int
    rate: float
    steps: int


class Progress(NamedTuple):
    """Training progress, the same on all ranks.

    Attributes:
        step: completed optimizer steps.
        consumed: training examples consumed by all ranks together.
        loss: mean loss of the last global batch, before its step.
        seconds: time spent in steps since the process started.
        ramp: active learning rate ramp, if any.
        gradient_norm: global L2 norm of the last step's averaged gradient.
    """

    step: int
    consumed: int
    loss: float = float("nan")
    seconds: float = 0.0
    ramp: Ramp | None = None
    gradient_norm: float = float("nan")
