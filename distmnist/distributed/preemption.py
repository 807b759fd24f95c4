"""Graceful preemption: a signal stops all ranks at the same step, with a checkpoint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from distmnist.core import resuming
from distmnist.core.errors import Preempted
from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.signals import Signals

# Seconds between two votes. `mpirun` leaves a rank one second to save and exit.
_VOTE_SECONDS = 0.5
# Most steps between two votes: bounds the memory of the indices of a graph call.
_MAX_STEPS = 1000


class PreemptionHook:
    """Stops all ranks at the same step, and limits how long a graph call takes.

    A signal reaches ranks at different moments. Twice a second they compare what they
    have received, with one small allreduce; because they count steps, not seconds, they
    also compare how long a step takes.
    """

    def __init__(
        self,
        cluster: Cluster,
        signals: Signals,
        max_steps: int,
        start: Progress,
        save: Callable[[Progress], None],
    ):
        """Starts to count steps.

        Args:
            cluster: its ranks vote. In an elastic job, a signal that only some ranks
                receive removes only those.
            signals: of this process.
            max_steps: most steps between two votes; 0: as many as half a second takes.
            start: progress at the start of training.
            save: writes a checkpoint, and returns when it is complete.
        """
        self._cluster = cluster
        self._signals = signals
        self._max_steps = max_steps or _MAX_STEPS
        self._before = start
        self._next = start.step + 1  # a first step shows how long one takes
        self._save = save

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the step of the next vote."""
        return min(self._next, last_step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether ranks vote after this step."""
        return step >= self._next

    def __call__(self, progress: Progress) -> None:
        """Votes.

        Args:
            progress: training progress.

        Raises:
            Preempted: on all ranks, once a checkpoint is written, if any rank has
                received a signal.
        """
        before, self._before = self._before, progress
        seconds = progress.seconds - before.seconds
        mine = self._signals.received
        received, missed, step_seconds = self._cluster.allreduce_max(
            [mine, mine == 0, seconds / (progress.step - before.step)]
        )
        if self._cluster.is_elastic and missed:
            if mine:  # this rank leaves, the others continue
                os._exit(128 + mine)
        elif received:
            self._save(progress)
            name = signal.Signals(int(received)).name
            raise Preempted(
                f"stopped by {name} at step {progress.step} with a checkpoint: "
                f"{resuming.how_to_continue(saved=True)}",
                int(received),
            )
        steps = int(_VOTE_SECONDS / step_seconds)
        self._next = progress.step + max(1, min(steps, self._max_steps))
