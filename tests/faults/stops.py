"""The stop matrix: a signal, to a process, of a launcher's job, at a moment.

Every job continues a run that has a checkpoint. Afterwards no process may be alive 30
seconds after its limit, and the run must be there to be continued.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from distmnist.checkpoint import format
from distmnist.core.errors import InputError
from distmnist.core.run_directory import RunDirectory
from tests.faults.outcomes import Fault, Outcome
from tests.jobs import Job
from tests.launching import HOROVODRUN, HOROVODRUN_GLOO, MPIRUN, ROOT, TRAIN, run

SIGNALS = ("TERM", "INT", "HUP", "USR1", "KILL", "STOP")
TARGETS = ("rank 0", "rank 1", "launcher", "all")
LAUNCHERS = ("plain", "mpirun", "horovodrun", "gloo", "elastic", "wrapper")
MOMENTS = (
    *("import", "connect", "first step", "loop", "evaluation", "saving", "shutdown"),
)

STALL_SECONDS = 10
GRACE_SECONDS = 5
PATIENCE_SECONDS = 30  # after a limit, as the machine may be busy

START, END = 40, 440  # steps: of the checkpoint that is there, and of the job
_FLAGS = (
    *("--dataset=digits", "--log_every=20", "--eval_every=200"),
    *("--checkpoint_every=100", "--steps_per_call=20", f"--max_steps={END}"),
    *(f"--stall_seconds={STALL_SECONDS}", f"--grace_seconds={GRACE_SECONDS}"),
)
_SHORT = 12  # cells of a sample
_RESUMED = 4  # of so many, one is continued by a real job; of all, files are checked


class Stop(NamedTuple):
    """A cell of the matrix."""

    launcher: str
    target: str
    name: str  # of the signal
    moment: str

    def __str__(self) -> str:
        """Returns what is done."""
        return f"SIG{self.name} to {self.target} of {self.launcher} at {self.moment}"


def matrix() -> list[Stop]:
    """Returns all cells."""
    return [
        Stop(launcher, target, name, moment)
        for launcher in LAUNCHERS
        for target in (TARGETS if launcher != "plain" else ("launcher",))
        for name in SIGNALS
        for moment in MOMENTS
        if (launcher, moment) != ("plain", "connect")  # with whom?
    ]


def try_faults(directory: Path, part: slice | None, seed: int) -> Iterator[Fault]:
    """Tries cells in random order."""
    cells = matrix()
    random.Random(seed).shuffle(cells)
    cells = cells[part or slice(_SHORT)]
    begun = prepare(directory)

    def attempt(number: int) -> Fault:
        return try_stop(
            cells[number], directory / str(number), begun, number % _RESUMED == 0
        )

    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) // 2)) as pool:
        yield from pool.map(attempt, range(len(cells)))


def prepare(directory: Path) -> Path:
    """Returns a run with a checkpoint, which each cell continues a copy of."""
    begun = directory / "begun"
    command = (*TRAIN, *_FLAGS, f"--max_steps={START}", f"--log_dir={begun}")
    run(command, cwd=directory)
    return begun


def try_stop(stop: Stop, directory: Path, begun: Path, resume: bool) -> Fault:
    """Tries one cell.

    Args:
        stop: the cell.
        directory: for its files; must not exist.
        begun: of `prepare`.
        resume: continue the run by a real job.
    """
    directory.mkdir()
    logs = directory / "logs"
    shutil.copytree(begun, logs)
    with Job(_command(stop, directory, logs), directory) as job:
        outcome, output = _end(stop, job, directory)
    step = saved(logs)
    if step < START:
        outcome, output = Outcome.LOST, f"newest checkpoint: {step}\n{output}"
    elif "Traceback" in output and outcome is not Outcome.HUNG:
        outcome = Outcome.TRACEBACK
    elif resume:
        command = (*TRAIN, *_FLAGS, f"--max_steps={END + 20}", f"--log_dir={logs}")
        try:
            run(command, cwd=directory)
        except AssertionError as error:
            outcome, output = Outcome.LOST, f"{output}\n{error}"
    return Fault(f"SIG{stop.name}", str(stop), outcome, output)


def saved(logs: Path) -> int:
    """Returns the step of the newest checkpoint that is intact; -1 without one."""
    try:
        checkpoint = format.latest(RunDirectory(logs))
    except InputError:
        return -1
    if checkpoint is None:
        return -1
    checkpoint.close()
    return int(checkpoint.path.rpartition("-")[2])


def _command(stop: Stop, directory: Path, logs: Path) -> tuple[object, ...]:
    marks = directory / "marks"
    marks.mkdir()
    program = (sys.executable, ROOT / "tests/faults/stop_program.py")
    train = (*program, stop.moment, marks, *_FLAGS, f"--log_dir={logs}")
    if stop.launcher == "plain":
        return train
    if stop.launcher == "wrapper":
        wrapper = directory / "wrapper.sh"
        wrapper.write_text('"$@"\nexit $?\n')
        return (*MPIRUN, 2, "sh", wrapper, *train)
    if stop.launcher == "elastic":
        hosts = directory / "hosts.sh"
        hosts.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:1\n")
        hosts.chmod(0o755)
        return (
            *("horovodrun", "-np", 2, "--min-np", 1, "--max-np", 2),
            *("--host-discovery-script", hosts, "--network-interface", "lo"),
            *("--elastic-timeout", STALL_SECONDS, *train, "--elastic"),
        )
    launchers = {
        "mpirun": MPIRUN,
        "horovodrun": HOROVODRUN,
        "gloo": HOROVODRUN_GLOO,
    }
    return (*launchers[stop.launcher], 2, *train)


def _end(stop: Stop, job: Job, directory: Path) -> tuple[Outcome, str]:
    """Sends the signal, and waits for all processes to end."""
    ranks = 1 if stop.launcher == "plain" else 2
    found: dict[int, int] = {}

    def all_are_there() -> bool:
        for mark in (directory / "marks").iterdir():
            rank, pid = mark.name.split("-")
            found[int(rank)] = int(pid)
        return len(found) == ranks

    try:
        job.wait_for(all_are_there)
        if stop.target == "all":
            pids = list(job.processes())
        elif stop.target == "launcher":
            pids = [job.pid]
        else:
            pids = [found[int(stop.target[-1])]]
        _send(pids, f"SIG{stop.name}")
        limit = max(STALL_SECONDS, GRACE_SECONDS)
        if stop.name == "STOP" and stop.target in ("launcher", "all"):
            # Nothing else could end these; ranks end or work without their launcher.
            time.sleep(STALL_SECONDS + 5)
            _send(pids, "SIGCONT")
        status = job.end(limit + PATIENCE_SECONDS)
    except AssertionError as error:
        return Outcome.HUNG, f"{error}\n{job.output()}"
    return Outcome.TOLD if status else Outcome.SURVIVED, job.output()


def _send(pids: list[int], name: str) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[name])
