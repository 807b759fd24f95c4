"""Write errors and kills at every call that changes the run directory.

A short run of one process, in which one such call fails, or the process is killed at
it; then the same run again without a fault, which must end with the parameters and
metrics of an undisturbed one. Three starts: in an empty directory, of a run that ended
between two checkpoints (whose logs are truncated), and with --restart (which archives).
"""

from __future__ import annotations

import errno
import itertools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests import launching
from tests.faults.outcomes import Fault, Outcome

FLAGS = [
    "--dataset=digits",
    "--batch_size=20",
    "--hidden1=8",
    "--hidden2=4",
    "--max_steps=8",
    "--log_every=2",
    "--eval_every=4",
    "--checkpoint_every=2",
    "--keep_checkpoints=2",
]
LAST = "model.ckpt-8"
KILL = -9
CODES = {
    "kill": KILL,
    **{name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EINVAL", "ENOSYS")},
}
FULL = "full disk"  # ENOSPC, and of all later calls that need space
SECONDS = 60.0  # a run takes two
SAMPLE = 40


class Point(NamedTuple):
    """Where a run is disturbed.

    Attributes:
        start: "new", "resume" or "restart".
        number: of the call, from 1.
        kind: of CODES, or FULL.
    """

    start: str
    number: int
    kind: str


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        status: exit status; None if it timed out.
        output: standard output and error.
        calls: the calls that changed the directory, in order.
        hit: the one that failed; None if none did.
    """

    status: int | None
    output: str
    calls: list[str]
    hit: str | None


class Runs:
    """Trains in forks of one process, with faults."""

    def __init__(self, directory: Path):
        """Starts the process, and trains undisturbed.

        Args:
            directory: empty.
        """
        self._directory = directory
        self._numbers = itertools.count()
        shim = directory / "failing_writes.so"
        source = Path(__file__).with_name("failing_writes.c")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            env={**launching.environment(), "LD_PRELOAD": str(shim)},
            cwd=launching.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout and self._process.stdin
        self._answers: IO[str] = self._process.stdout
        self._commands: IO[str] = self._process.stdin
        assert self._answers.readline(), "the process that forks could not start"
        self.undisturbed = directory / "undisturbed"
        ended = self.train(self.undisturbed)
        assert ended.status == 0, ended.output
        self.results = results(self.undisturbed)

    def close(self) -> None:
        """Ends the process."""
        self._commands.close()
        self._process.wait(30)

    def begin(self, start: str) -> Path:
        """Returns the directory of a run that is about to start."""
        run = self._directory / f"run{next(self._numbers)}"
        if start != "new":
            shutil.copytree(self.undisturbed, run)
        if start == "resume":
            for path in run.glob(f"{LAST}.*"):
                path.unlink()
        return run

    def train(
        self, run: Path, *flags: str, number: int = 0, kind: str = "kill"
    ) -> Ended:
        """Trains, with a fault.

        Args:
            run: run directory.
            flags: beside FLAGS.
            number: of the call that fails; 0: none.
            kind: of CODES, or FULL.
        """
        output, calls = self._directory / "output", self._directory / "calls"
        command: dict[str, Any] = {
            "arguments": [*FLAGS, f"--log_dir={run}", *flags],
            "root": str(run),
            "number": number,
            "code": CODES.get(kind, errno.ENOSPC),
            "all": kind == FULL,
            "output": str(output),
            "calls": str(calls),
            "seconds": SECONDS,
        }
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        status = json.loads(self._answers.readline())["status"]
        lines = calls.read_text().splitlines()
        hit = next((line[1:] for line in lines if line.startswith("!")), None)
        return Ended(status, output.read_text(errors="replace"), lines, hit)

    def disturb(self, point: Point) -> Fault | None:
        """Disturbs a run, and checks what becomes of it; None if nothing was hit."""
        run = self.begin(point.start)
        flags = ("--restart",) if point.start == "restart" else ()
        ended = self.train(run, *flags, number=point.number, kind=point.kind)
        if ended.hit is None:
            shutil.rmtree(run)
            return None
        what = f"{point.start}, call {point.number}: {ended.hit.replace(str(run), '')}"
        output, outcome = ended.output, self._outcome(ended, point.kind)
        if outcome in (Outcome.SURVIVED, Outcome.TOLD):
            again = self.train(run)
            problem = self._problem(run, again, point.start)
            if problem:
                outcome = Outcome.LOST
                output += f"--- again, without a fault: {problem}\n{again.output}"
        shutil.rmtree(run)
        return Fault(f"{point.kind} at a write", what, outcome, output)

    def _outcome(self, ended: Ended, kind: str) -> Outcome:
        told = launching.messages(ended.output)
        if ended.status is None:
            return Outcome.HUNG
        if "Traceback" in ended.output:
            return Outcome.TRACEBACK
        if kind == "kill":
            return Outcome.SURVIVED if ended.status == KILL else Outcome.SILENT
        if ended.status == 0:
            return Outcome.SURVIVED
        if ended.status in (1, 2) and len(told) == 1:
            return Outcome.TOLD
        return Outcome.SILENT

    def _problem(self, run: Path, again: Ended, start: str) -> str | None:
        """Returns what is wrong after the second run; None if nothing is."""
        if again.status != 0 or "Traceback" in again.output:
            return f"it ended with {again.status}"
        if not (run / f"{LAST}.index").exists():
            return "there is no last checkpoint"
        if results(run) != self.results:
            return "its results are others"
        if left := [*run.rglob(".model.ckpt-*"), *run.rglob(".rewriting")]:
            return f"left: {left}"
        if len(list(run.glob("model.ckpt-*.index"))) > 2:
            return "older checkpoints are left"
        if start == "restart":
            old = (self.undisturbed / "metrics.jsonl").read_bytes()
            if not any(p.read_bytes() == old for p in run.rglob("metrics.jsonl")):
                kept = [
                    p.read_bytes().startswith(old) for p in run.rglob("metrics.jsonl")
                ]
                if not any(kept):
                    return "the old run's metrics are lost"
        return None


def results(run: Path) -> dict[str, Any]:
    """Returns what a run leaves that does not depend on time: parameters and logs."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(run / LAST))
    values = {
        name: reader.get_tensor(name).tobytes()
        for name in reader.get_variable_to_shape_map()
        if name != "metadata"
    }
    timed = ("time", "examples_per_sec", "step_ms", "goodput")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    logged = [
        {name: value for name, value in line.items() if name not in timed}
        for line in lines
        if line["kind"] != "start"
    ]
    events = []
    for path in [*run.glob("events*"), *run.glob("eval/*/events*")]:
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.tag.startswith(("loss", "precision")) and event.step:
                    events.append((path.parent.name[:4], event.step, value.tag))
    of_run = [
        ("", *event[1:]) if event[0] == run.name[:4] else event for event in events
    ]
    return {**values, "logged": logged, "events": sorted(of_run)}


def points(runs: Runs, seed: int) -> list[Point]:
    """Returns the points to disturb, in random order."""
    found = []
    for start in ("new", "resume", "restart"):
        run = runs.begin(start)
        flags = ("--restart",) if start == "restart" else ()
        ended = runs.train(run, *flags)
        assert ended.status == 0, ended.output
        shutil.rmtree(run)
        numbers = range(1, len(ended.calls) + 1)
        if start != "new":  # what follows the start is the same
            numbers = range(1, 1 + _first_log(ended.calls))
        found += [Point(start, n, kind) for n in numbers for kind in (*CODES, FULL)]
    random.Random(seed).shuffle(found)
    return found


def _first_log(calls: list[str]) -> int:
    """Returns the number of calls up to the first of the new event file."""
    opened = [
        i
        for i, call in enumerate(calls)
        if call.startswith("fopen") and "/events" in call
    ]
    return opened[0] + 10 if opened else len(calls)


def try_faults(
    directory: Path, part: slice | None, seed: int, sample: int = SAMPLE
) -> Iterator[Fault]:
    """Yields write errors and kills at the calls that change the run directory.

    Args:
        directory: empty.
        part: of them; None for a sample.
        seed: of the sample, and of their order.
        sample: number of points without a part.
    """
    if shutil.which("cc") is None:
        print("no C compiler: write errors are not tried")
        return
    runs, missed, tried = Runs(directory), 0, 0
    try:
        found = points(runs, seed)
        for point in found[part or slice(sample)]:
            fault = runs.disturb(point)
            tried += 1
            missed += fault is None
            if fault:
                yield fault
        print(f"writes: {tried} of {len(found)} points, {missed} of them not reached")
        # Threads race, so that a run may make a few calls less than the one counted.
        assert missed <= max(1, tried // 20), f"{missed} of {tried} were not hit"
    finally:
        runs.close()
