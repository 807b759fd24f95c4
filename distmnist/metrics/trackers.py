"""The processes beside rank 0 that publish its run to experiment trackers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from distmnist.core.config import Config
from distmnist.core.trackers import FINISHED, LAST_SECONDS, check_installed
from distmnist.distributed.watchdog import watchdog
from distmnist.metrics.types import MetricWriter

_MODULE = "distmnist.tracking.process"
_RANK = ("OMPI_COMM_", "PMIX_", "PMI_", "HOROVOD_")  # they are none


class TrackerProcesses(MetricWriter):
    """Starts the processes; they read metrics.jsonl, and so are told nothing else."""

    def __init__(self, config: Config):
        """Starts a process for each tracker.

        Args:
            config: run configuration; metrics.jsonl and flags.txt are there.

        Raises:
            InputError: a tracker is not installed.
            OSError: a process cannot be started.
        """
        check_installed(config.trackers)
        # The other ranks wait for this one.
        self._most_seconds = config.stall_seconds / 2
        self._is_finished = False
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_RANK)
        }
        self._processes = [
            subprocess.Popen(
                (sys.executable, "-W", "ignore", "-m", _MODULE, name, config.log_dir),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # signals for the job are not for them
                env=environment,
            )
            for name in config.trackers
        ]

    def close(self) -> None:
        """Tells them that the run has reached its end."""
        for process in self._processes:
            self._write(process, FINISHED)
        self._is_finished = True

    def wait(self) -> None:
        """Has them publish the rest, as far as it goes in `LAST_SECONDS`."""
        for process in self._processes:
            self._write(process, None)
        seconds = min(LAST_SECONDS[self._is_finished] + 1, self._most_seconds)
        with watchdog.phase("publishing metrics", at_least=2 * seconds):
            for process in self._processes:
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _write(self, process: subprocess.Popen[bytes], text: bytes | None) -> None:
        """Writes to a process; None: closes its input."""
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has failed, and said so
            if text:
                process.stdin.write(text)
                process.stdin.flush()
            else:
                process.stdin.close()
