"""Ends a job in which a rank no longer takes part, though its process is there.

Horovod tells of a rank whose training is late, but not of a process or host that is
frozen: its own negotiation waits for that too.  So a thread on each rank watches
whether steps are still taken.
"""

from __future__ import annotations

import sys
import threading
import time

from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_WARN_SECONDS = 60.0  # as Horovod does


class Watchdog:
    """Watches while it is entered."""

    def __init__(self, cluster: Cluster, seconds: float):
        """Watches nothing yet.

        Args:
            cluster: of the run; a cluster of one can't stall.
            seconds: without a step, after which the job ends.
        """
        self._cluster = cluster
        self._seconds = seconds
        self._warn_seconds = min(_WARN_SECONDS, seconds / 2)
        self._over = threading.Event()
        self._beat = 0.0
        self._step = -1

    def __enter__(self) -> Watchdog:
        """Begins to watch."""
        self._beat = time.monotonic()
        if self._cluster.size > 1:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watches no longer."""
        self._over.set()

    def beat(self, progress: Progress) -> None:
        """Notes a sign of life: that the loop has stopped for its tasks."""
        self._beat, self._step = time.monotonic(), progress.step

    def _watch(self) -> None:
        warned = False
        while not self._over.wait(_LOOK_SECONDS):
            idle = time.monotonic() - self._beat
            if idle < self._warn_seconds:
                warned = False
            elif not warned:
                warned = True
                self._warn(idle)
            elif idle > self._seconds:
                self._tell(
                    f"no step for {idle:.0f} s (--stall_seconds): ending the job"
                )
                self._cluster.abort(1)

    def _warn(self, idle: float) -> None:
        silent = self._cluster.silent_ranks(self._step, _ANSWER_SECONDS)
        answering = set(range(self._cluster.size)) - set(silent)
        if self._cluster.rank == min(answering):  # one tells it for all
            ranks = ", ".join(map(str, silent))
            who = f": no answer from rank {ranks}" if silent else ""
            self._tell(f"no step for {idle:.0f} s{who}")

    def _tell(self, message: str) -> None:
        rank = self._cluster.rank
        sys.stderr.write(f"distmnist: {message} (rank {rank})\n")
        sys.stderr.flush()
