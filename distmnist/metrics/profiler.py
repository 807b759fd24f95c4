"""The profiler: a TensorFlow profile of some steps, on rank 0.

TensorBoard shows it with the plug-in `tensorboard-plugin-profile`. Horovod's timeline
shows the communication: `horovodrun --timeline-filename=FILE`, or HOROVOD_TIMELINE=FILE
under mpirun; FILE opens in chrome://tracing or Perfetto.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory


class Profiler:
    """Profiles a range of steps; a hook."""

    def __init__(
        self,
        steps: Sequence[int],
        directory: RunDirectory,
        rank: int,
        run_steps: tuple[int, int],
        at_end: Callable[[Progress], None],
    ):
        """Profiles nothing yet; warns if it never will.

        Args:
            steps: numbers of completed steps at which the profile starts and stops.
            directory: directory of the run.
            rank: index of this process; rank 0 profiles.
            run_steps: completed steps at the start of the run, and at its end.
            at_end: called on all ranks when the last of the steps is taken.
        """
        self._first, self._last = steps
        self._directory = directory
        self._rank = rank
        self._running = False  # on all ranks
        self._at_end = at_end
        start, end = run_steps
        self._ends_before = end <= self._first
        if rank == 0 and start < self._last and not start < self._first < end:
            logging.warning(
                "flag --profile=%d,%d: nothing is profiled: from step %d, this run "
                "trains to step %d",
                *(*steps, start, end),
            )

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` at which a profile starts or stops."""
        boundaries = (self._first, self._last, last_step)
        return min(boundary for boundary in boundaries if boundary > step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether a profile starts or stops at this step."""
        return step in (self._first, self._last, last_step)

    def __call__(self, progress: Progress) -> None:
        """Starts or stops the profile."""
        if self._running:
            self.stop(progress)
            self._at_end(progress)
        elif progress.step == self._first and not self._ends_before:
            self._running = True
            # As bytes: TensorFlow would encode it as UTF-8.
            directory: Any = os.fsencode(self._directory.path)
            if self._rank == 0:
                with self._warned():
                    tf.profiler.experimental.start(directory)

    def stop(self, progress: Progress) -> None:
        """Writes the profile of the steps so far, if there is one."""
        if not self._running:
            return
        self._running = False
        if self._rank != 0:
            return
        with self._warned():
            tf.profiler.experimental.stop()
            logging.info(
                "Profile of steps %d to %d: %s",
                *(self._first, progress.step, self._directory.profile),
            )

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        """Warns of what goes wrong inside; the run goes on."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError) as error:
            logging.warning(
                "The profile of steps %d to %d cannot be written (%s)",
                *(self._first, self._last, str(error).partition("\n")[0]),
            )
