"""The profiler: a TensorFlow profile of some steps, on rank 0.

TensorBoard shows it with the plug-in `tensorboard-plugin-profile`. Horovod's timeline
shows the communication: `horovodrun --timeline-filename=FILE`, or HOROVOD_TIMELINE=FILE
under mpirun; FILE opens in chrome://tracing or Perfetto.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory


class Profiler:
    """Profiles a range of steps; a hook."""

    def __init__(self, steps: Sequence[int], directory: RunDirectory, rank: int):
        """Profiles nothing yet.

        Args:
            steps: numbers of completed steps at which the profile starts and stops.
            directory: directory of the run.
            rank: index of this process; rank 0 profiles.
        """
        self._first, self._last = steps
        self._directory = directory
        self._rank = rank
        self._running = False

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` at which a profile starts or stops."""
        boundaries = (self._first, self._last, last_step)
        return min(boundary for boundary in boundaries if boundary > step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether a profile starts or stops at this step."""
        return step in (self._first, self._last, last_step)

    def __call__(self, progress: Progress) -> None:
        """Starts or stops the profile."""
        if self._rank != 0:
            return
        if self._running:
            tf.profiler.experimental.stop()
            logging.info("Profile: %s", self._directory.profile)
            self._running = False
        elif progress.step == self._first:
            tf.profiler.experimental.start(str(self._directory.path))
            self._running = True
