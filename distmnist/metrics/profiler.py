"""A profile of some steps, of TensorFlow's, on rank 0.

TensorBoard shows it with the plug-in `tensorboard-plugin-profile`.  What Horovod does
meanwhile is seen in its timeline: `horovodrun --timeline-filename=FILE`, or
HOROVOD_TIMELINE=FILE under mpirun; FILE opens in chrome://tracing or Perfetto.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from distmnist.core.progress import Progress


class Profiler:
    """Profiles the steps between two, when the training loop comes to them."""

    def __init__(self, steps: Sequence[int], log_dir: str, rank: int):
        """Profiles nothing yet.

        Args:
            steps: completed steps at which the profile begins, and ends.
            log_dir: it goes to `<log_dir>/plugins/profile`.
            rank: of this process; rank 0 profiles.
        """
        self._first, self._last = steps
        self._log_dir = log_dir
        self._rank = rank
        self._running = False

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` at which the profile begins or ends."""
        moments = (self._first, self._last, last_step)
        return min(moment for moment in moments if moment > step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Tells whether the profile begins or ends at this step."""
        return step in (self._first, self._last, last_step)

    def __call__(self, progress: Progress) -> None:
        """Begins or ends the profile."""
        if self._rank != 0:
            return
        if self._running:
            tf.profiler.experimental.stop()
            logging.info("The profile is in %s/plugins/profile", self._log_dir)
            self._running = False
        elif progress.step == self._first:
            tf.profiler.experimental.start(self._log_dir)
            self._running = True
