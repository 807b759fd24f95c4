"""Hostile input: every file that the programs read, changed at random.

The programs run inside of a few processes, because the import of TensorFlow takes far
longer than an input. What ends such a process ends that of a user: it is a traceback.
Alone, it is such a process: `python -m tests.faults.inputs DIRECTORY` reads a kind and
a seed from each line of standard input, and prints what became of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import random
import resource
import select
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests import launching
from tests.faults import input_kinds
from tests.faults.outcomes import Fault, Outcome

_WORKERS = 2
_SECONDS = 120  # for one input
_MEMORY = 2 << 20  # kilobytes that one input may take
_ADDRESSES = 32 << 30  # bytes; more is refused, as on a full machine


def try_faults(directory: Path, part: slice | None, seed: int) -> Iterator[Fault]:
    """Tries changed files of each kind.

    Args:
        directory: an empty one, to write to.
        part: of thousands; None for hundreds.
        seed: of the changes.
    """
    input_kinds.prepare(directory)
    if part is None:
        yield from try_inputs(directory, seed, 1)
    else:
        yield from try_inputs(directory, seed, 6, part)


def try_inputs(
    directory: Path, seed: int, times: float, part: slice = slice(None)
) -> Iterator[Fault]:
    """Tries inputs in some processes; see `try_faults`.

    Args:
        directory: prepared by `input_kinds.prepare`.
        seed: of the changes.
        times: how often the number of each kind; one at least.
        part: of these, in random order.
    """
    cases: queue.Queue[tuple[str, str]] = queue.Queue()
    all_cases = [
        (name, f"{seed}.{index}")
        for name, kind in input_kinds.KINDS.items()
        for index in range(max(1, round(kind.count * times)))
    ]
    random.Random(seed).shuffle(all_cases)
    all_cases = all_cases[part]
    for case in all_cases:
        cases.put(case)
    ended: queue.Queue[Fault] = queue.Queue()
    for number in range(_WORKERS):
        arguments = (directory / f"worker{number}", directory, cases, ended)
        threading.Thread(target=_supervise, args=arguments, daemon=True).start()
    for _ in all_cases:
        yield ended.get()


def _supervise(
    work: Path,
    directory: Path,
    cases: queue.Queue[tuple[str, str]],
    ended: queue.Queue[Fault],
) -> None:
    """Has a process try cases until there are none; starts it again if it ends."""
    process: subprocess.Popen[str] | None = None
    work.mkdir(exist_ok=True)
    with (work / "stderr").open("w+") as errors:
        while not cases.empty():
            with contextlib.suppress(queue.Empty):
                name, seed = cases.get_nowait()
                process = process or _start(work, directory, errors)
                answer = _ask(process, f"{name} {seed}")
                if answer is None:
                    status = process.poll()
                    process.kill()
                    process.wait()
                    process = None
                    outcome = Outcome.HUNG if status is None else Outcome.TRACEBACK
                    errors.seek(0)
                    answer = (outcome, f"ended with {status}\n{errors.read()[-5000:]}")
                ended.put(Fault(f"input: {name}", f"seed {seed}", *answer))
    if process:
        process.kill()
        process.wait()


def _start(work: Path, directory: Path, errors: io.TextIOBase) -> subprocess.Popen[str]:
    errors.seek(0)
    errors.truncate()
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(directory.resolve())],
        cwd=work,
        env=launching.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def _ask(process: subprocess.Popen[str], case: str) -> tuple[Outcome, str] | None:
    """Returns what became of a case; None if the process ended, or did not answer."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(f"{case}\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    if not select.select([process.stdout], [], [], _SECONDS)[0]:
        return None
    line = process.stdout.readline()
    if not line:
        process.wait()
        return None
    name, output = json.loads(line)
    return Outcome[name], output


def main() -> None:
    """Tries the cases on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    input_kinds.prepare_process()
    directory = Path(sys.argv[1])
    for line in sys.stdin:
        name, seed = line.split()
        answers.write(json.dumps(_try(directory, name, seed)) + "\n")
        answers.flush()


def _try(directory: Path, name: str, seed: str) -> tuple[str, str]:
    """Returns the name of what became of a case, and the output."""
    here = Path.cwd() / "case"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    rng = random.Random(f"{name} {seed}")
    run = input_kinds.KINDS[name].change(rng, directory, here)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        outcome = _outcome(run, errors)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if taken > _MEMORY:
        return Outcome.TRACEBACK.name, f"took {taken >> 10} MiB\n{errors.getvalue()}"
    return outcome.name, errors.getvalue()[-10_000:]


def _outcome(run: input_kinds.Run, errors: io.StringIO) -> Outcome:
    from distmnist.core.errors import UserError

    try:
        run()
        status: object = 0
    except UserError as error:
        errors.write(f"distmnist: {error}\n")
        status = error.exit_status
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc(file=errors)
        return Outcome.TRACEBACK
    text = errors.getvalue()
    if "Traceback (most recent call last)" in text:
        return Outcome.TRACEBACK
    if not status:
        return Outcome.SURVIVED
    lines = text.splitlines()
    told = len(launching.messages(text)) == 1 and lines[-1].startswith("distmnist: ")
    return Outcome.TOLD if told else Outcome.TRACEBACK


if __name__ == "__main__":
    main()
