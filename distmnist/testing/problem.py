"""What is checked, and what a rank observed of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from distmnist.core.config import Config

Values = dict[str, NDArray[Any]]
"""Values of variables by name."""


class Problem(NamedTuple):
    """A network and its data set; see `check_network`.

    Attributes:
        network: class or function, or a name as --model takes it.
        dataset: `Dataset`, function, or a name as --dataset takes it.
        config: run configuration.
    """

    network: Any
    dataset: Any
    config: Config = Config()

    @property
    def label(self) -> str:
        """Name of the network, for messages."""
        return str(getattr(self.network, "__qualname__", self.network))


@dataclass
class Observed:
    """What a rank observed of a problem.

    Attributes:
        error: why it could not be trained; empty if it could.
        initial: values of the variables after creation, before ranks exchange them.
        again: likewise, of the network that was created a second time.
        first: values after the first step; on rank 0 alone.
        whole: values after the last step of the uninterrupted run.
        resumed: likewise, of the run that was interrupted and resumed; on rank 0 alone.
        sums: checksum of each variable after each step.
        losses: of the global batch, after the first step and after the last.
        metrics: of the validation split, after the last step.
        unused: names of the trained variables that the loss does not depend on.
        created_later: names of the variables that did not exist before training.
        repeats: what one batch's loss is in two calls of a graph, and in another graph
            of the same network.
        parts: loss of a batch, and those of its halves.
        outputs_differ: whether the outputs for a batch differ from those for its
            halves.
        exact: whether ranks compute by design what one does.
        rough: whether something is computed in float16 or bfloat16.
    """

    error: str = ""
    initial: Values = field(default_factory=dict)
    again: Values = field(default_factory=dict)
    first: Values = field(default_factory=dict)
    whole: Values = field(default_factory=dict)
    resumed: Values = field(default_factory=dict)
    sums: list[dict[str, int]] = field(default_factory=list)
    losses: tuple[float, float] = (0.0, 0.0)
    metrics: dict[str, float] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    created_later: list[str] = field(default_factory=list)
    repeats: tuple[float, float, float] = (0.0, 0.0, 0.0)
    parts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    outputs_differ: bool = False
    exact: bool = True
    rough: bool = False
