"""The metric that tells the best checkpoint: --best_metric."""

from __future__ import annotations

from typing import NamedTuple

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.metrics.types import SplitResult


class BestMetric(NamedTuple):
    """A metric, and what is better.

    Attributes:
        name: of the metric.
        sign: 1 if more is better, -1 if less is.
    """

    name: str
    sign: int

    @classmethod
    def of_run(cls, config: Config, has_classes: bool) -> BestMetric:
        """Returns the metric that --best_metric names.

        Args:
            config: run configuration.
            has_classes: whether classes are predicted, not numbers.
        """
        text = config.best_metric
        if text == "auto":
            text = "accuracy:max" if has_classes else "loss:min"
        name, _, direction = text.rpartition(":")
        return cls(name, 1 if direction == "max" else -1)

    def of(self, result: SplitResult) -> float:
        """Returns its value, times the sign: more is better.

        Args:
            result: of the validation split.

        Raises:
            InputError: there is no such metric.
        """
        if self.name not in result.metrics:
            direction = "max" if self.sign > 0 else "min"
            raise InputError(
                f"flag --best_metric={self.name}:{direction}: there is no such "
                f"metric; there are {', '.join(result.metrics)}"
            )
        return self.sign * result.metrics[self.name]
