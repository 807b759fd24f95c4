"""The trials of a sweep: processes of distmnist.train, several at a time."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from distmnist.distributed import cores
from distmnist.sweeping import points
from distmnist.sweeping.points import Point

LOG = "output.txt"
"""File in a trial's directory with all that it printed, one run after another."""


class Trial(NamedTuple):
    """A trial.

    Attributes:
        point: what differs from other trials.
        directory: its run directory.
        command: what is started.
    """

    point: Point
    directory: Path
    command: tuple[str, ...]


def create(
    point: Point, directory: Path, shared: Sequence[str], launcher: str = ""
) -> Trial:
    """Returns a trial.

    Args:
        point: values of the flags that are varied.
        directory: of the sweep.
        shared: flags of all trials.
        launcher: command before that of the training, such as "mpirun -np 2".
    """
    where = directory / points.name(point)
    return Trial(
        point,
        where,
        (
            *shlex.split(launcher),
            *(sys.executable, "-m", "distmnist.train"),
            *shared,
            *(f"--{name}={value}" for name, value in point.items()),
            f"--log_dir={where}",
        ),
    )


class Runner:
    """Runs trials; `stop` ends those that run, each with a checkpoint."""

    def __init__(self, jobs: int, share_cores: bool):
        """Starts nothing yet.

        Args:
            jobs: trials at a time.
            share_cores: give each its own part of this process's cores.
        """
        self._jobs = jobs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.stopped = False
        mine = sorted(os.sched_getaffinity(0))
        each = max(1, cores.available() // jobs)
        self._free = [
            set(mine[i * each : (i + 1) * each]) or set(mine) for i in range(jobs)
        ]
        self._share_cores = share_cores and jobs > 1

    def run(
        self, trials: Sequence[Trial], ended: Callable[[Trial, int, str], None]
    ) -> None:
        """Runs trials until all have ended, or `stop` is called.

        Args:
            trials: what to run.
            ended: called after each with its exit status and the last line that it
                printed.
        """
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._run, trial): trial for trial in trials}
            for future in as_completed(futures):
                status, line = future.result()
                if status is not None:
                    ended(futures[future], status, line)

    def _run(self, trial: Trial) -> tuple[int | None, str]:
        trial.directory.parent.mkdir(parents=True, exist_ok=True)
        output = trial.directory.with_name(f"{trial.directory.name}.{LOG}")
        with output.open("ab") as file:
            begin = file.tell()
            with self._lock:
                if self.stopped:
                    return None, ""
                process = subprocess.Popen(
                    trial.command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is passed on by `stop`
                )
                own = self._free.pop()
                if self._share_cores:
                    with contextlib.suppress(OSError):  # it has ended
                        os.sched_setaffinity(process.pid, own)
                self._running.add(process)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
            self._free.append(own)
        with output.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").split("\n")
        return status, next((line for line in reversed(lines) if line.strip()), "")

    def stop(self) -> None:
        """Has those that run save a checkpoint and end, and starts no more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
