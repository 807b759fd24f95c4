"""Long runs: memory and file descriptors stay as they are."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.outcomes import Fault, Outcome
from tests.jobs import Job
from tests.launching import MPIRUN, TRAIN, environment, run

_STEPS = {False: 100_000, True: 1_000_000}  # without and with --long
_FITS = {False: 6, True: 30}
# Logs, evaluations and checkpoints come as often as in a run a hundred times as long.
_FLAGS = ("--dataset=digits", "--log_every=100", "--eval_every=2000")
_OFTEN = ("--checkpoint_every=1000", "--learning_rate=0.01")
_MEGABYTES = 12  # a malloc arena more or less
_DESCRIPTORS = 4  # of a drawing; one for each log or save would be 25 or more

_PROGRAM = """
import os, sys
from distmnist import Config, fit
for number in range(int(sys.argv[1])):
    fit(Config(dataset="digits", max_steps=20, log_dir=f"logs/{number}"))
    pages = int(open("/proc/self/statm").read().split()[1])
    print("resident", pages * os.sysconf("SC_PAGESIZE") // 2**20)
"""


def try_faults(directory: Path, part: slice | None, seed: int) -> Iterator[Fault]:
    """Yields whether memory or descriptors grow with steps, and with fits."""
    long = part is not None
    yield _steps(directory, _STEPS[long])
    yield _fits(directory, _FITS[long])


def _steps(directory: Path, steps: int) -> Fault:
    """Trains on two ranks; compares the last quarter with the one before."""
    flags = (*_FLAGS, *_OFTEN, f"--max_steps={steps}", f"--log_dir={directory}/steps")
    samples: list[tuple[int, int, int]] = []  # step, megabytes, descriptors
    with Job((*MPIRUN, 2, *TRAIN, *flags), directory) as job:
        end = time.monotonic() + 60 + steps / 200
        while (ranks := job.ranks()) and job.running() and time.monotonic() < end:
            logged = re.findall(r"Step (\d+):", job.output())
            if len(ranks) == 2 and logged:
                used = [_used(pid) for pid in ranks.values()]
                megabytes, descriptors = (max(values) for values in zip(*used))
                samples.append((int(logged[-1]), megabytes, descriptors))
            time.sleep(0.5)
        status = job.end(60)
        output = job.output()
    first = [sample for sample in samples if steps * 0.5 < sample[0] < steps * 0.75]
    second = [sample for sample in samples if sample[0] >= steps * 0.75]
    growth, more = (
        max(sample[i] for sample in second) - max(sample[i] for sample in first)
        for i in (1, 2)
    )
    what = f"{steps} steps: {growth:+} MB in the last quarter, {more:+} descriptors"
    good = status == 0 and growth <= _MEGABYTES and more <= _DESCRIPTORS
    return Fault("soak", what, Outcome.SURVIVED if good else Outcome.LOST, output)


def _fits(directory: Path, count: int) -> Fault:
    """Calls `fit` again and again in one process."""
    command = (sys.executable, "-c", _PROGRAM, count)
    done = run(command, cwd=directory, timeout=60 + 20 * count, env=environment())
    used = [int(value) for value in re.findall(r"resident (\d+)", done.stdout)]
    growth = used[-1] - used[count // 3]
    what = f"{count} fits: {growth:+} MB since number {count // 3}"
    good = growth <= _MEGABYTES
    return Fault("soak", what, Outcome.SURVIVED if good else Outcome.LOST, done.stderr)


def _used(pid: int) -> tuple[int, int]:
    """Returns the megabytes and the file descriptors of a process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # it has ended
        return 0, 0
    return pages * os.sysconf("SC_PAGESIZE") // 2**20, descriptors
