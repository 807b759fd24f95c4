"""Watchdog for hung ranks: ends a job in which no step completes.

Horovod reports a rank whose training is late, but not a process or host that is frozen:
its own negotiation waits for that too. So a thread on each rank watches for progress.
"""

from __future__ import annotations

import sys
import threading
import time

from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster

_INTERVAL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0  # timeout of an answer from another rank
_WARN_SECONDS = 60.0  # as Horovod does


class Watchdog:
    """Watches while it is entered; a hook that notes every stop of the loop."""

    def __init__(self, cluster: Cluster, seconds: float):
        """Does not watch yet.

        Args:
            cluster: a cluster of one is not watched.
            seconds: hang timeout: without a stop for so long, the job is aborted.
        """
        self._cluster = cluster
        self._seconds = seconds
        self._warn_seconds = min(_WARN_SECONDS, seconds / 2)
        self._stop = threading.Event()
        self._beat = 0.0
        self._step = -1

    def __enter__(self) -> Watchdog:
        """Starts to watch."""
        self._beat = time.monotonic()
        if self._cluster.size > 1:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops watching."""
        self._stop.set()

    def heartbeat(self, progress: Progress) -> None:
        """Notes that steps have completed."""
        self._beat, self._step = time.monotonic(), progress.step

    def _watch(self) -> None:
        warned = False
        while not self._stop.wait(_INTERVAL_SECONDS):
            idle = time.monotonic() - self._beat
            if idle < self._warn_seconds:
                warned = False
            elif not warned:
                warned = True
                self._warn(idle)
            elif idle > self._seconds:
                self._print(
                    f"no step for {idle:.0f} s (--stall_seconds): aborting the job"
                )
                self._cluster.abort(1)

    def _warn(self, idle: float) -> None:
        unresponsive = self._cluster.unresponsive_ranks(self._step, _HEARTBEAT_SECONDS)
        responsive = set(range(self._cluster.size)) - set(unresponsive)
        if self._cluster.rank == min(responsive):  # one rank reports
            ranks = ", ".join(map(str, unresponsive))
            who = f": no answer from rank {ranks}" if unresponsive else ""
            self._print(f"no step for {idle:.0f} s{who}")

    def _print(self, message: str) -> None:
        sys.stderr.write(f"distmnist: {message} (rank {self._cluster.rank})\n")
        sys.stderr.flush()
