"""Early stopping: ends a run whose validation metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.core.progress import Progress
from distmnist.metrics.best import BestMetric
from distmnist.metrics.types import SplitResult


class EarlyStopping:
    """Counts evaluations without improvement.

    Its state is in variables, which checkpoints and commits hold, so that a resumed run
    ends where the uninterrupted one does. Results are the same on all ranks, and so is
    the decision.

    Attributes:
        variables: its state, by name; none if it is off.
    """

    def __init__(self, config: Config, metric: BestMetric):
        """Begins with no evaluation.

        Args:
            config: patience, and the least change that is an improvement.
            metric: what improves.
        """
        self._config = config
        self._metric = metric
        self._best = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._waited = tf.Variable(-1, dtype=tf.int64, trainable=False)  # none so far
        self.variables: dict[str, tf.Variable] = {}
        if config.early_stopping_patience:
            self.variables = {
                "early_stopping/best": self._best,
                "early_stopping/waited": self._waited,
            }

    @property
    def is_over(self) -> bool:
        """Whether the run ends here."""
        patience = self._config.early_stopping_patience
        return bool(patience) and int(self._waited) >= patience

    def update(self, progress: Progress, results: Mapping[str, SplitResult]) -> None:
        """Counts an evaluation, on all ranks.

        Args:
            progress: at this step.
            results: of each split.

        Raises:
            InputError: on all ranks, if there is no metric of the name in
                --best_metric.
        """
        if not self.variables:
            return
        try:
            value = self._metric.of(results["validation"])
        except InputError as error:
            raise on_all_ranks(error) from None
        least = float(self._best) + self._config.early_stopping_min_change
        if math.isfinite(value) and (int(self._waited) < 0 or value > least):
            self._best.assign(value)
            self._waited.assign(0)
        else:
            self._waited.assign(tf.maximum(self._waited, 0) + 1)
        if self.is_over:
            logging.info(
                "Early stopping at step %d: no better %s in %d evaluations",
                *(progress.step, self._metric.name, int(self._waited)),
            )
