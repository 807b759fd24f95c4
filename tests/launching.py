"""Starts processes for the tests: with a timeout, and their output when they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

ROOT = Path(__file__).parents[1]
_BIN = Path(sys.executable).parent

# The launchers, up to the number of ranks.
PLAIN = ()
MPIRUN = ("mpirun", "--tag-output", "-np")
HOROVODRUN = ("horovodrun", "-np")
HOROVODRUN_GLOO = ("horovodrun", "--gloo", "-np")

TRAIN = (sys.executable, "-m", "distmnist.train")


def reset_flags() -> None:
    """Gives all flags their defaults: absl keeps them as long as the process."""
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()


def environment() -> dict[str, str]:
    """Returns what a shell has in which .venv is active, and nothing of MPI's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMPI_", "PMIX_", "HOROVOD_"))
    }
    kept["PATH"] = f"{_BIN}{os.pathsep}{kept['PATH']}"
    kept["PYTHONPATH"] = str(ROOT)
    kept["PYTHONUNBUFFERED"] = "1"  # as in most containers
    if os.geteuid() == 0:  # as .venv/bin/activate does
        kept["OMPI_ALLOW_RUN_AS_ROOT"] = kept["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return kept


def run(
    command: Sequence[object],
    status: int = 0,
    cwd: Path | None = None,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command, and checks its exit status.

    Args:
        command: what to run.
        status: the exit status that it must have.
        cwd: its working directory.
        timeout: seconds after which it, and all that it started, is killed.
        env: variables beside those of `environment`.

    Returns:
        What it printed.

    Raises:
        AssertionError: another exit status, or no end in time; with its output.
    """
    words = [str(word) for word in command]
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env={**environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ended = "did not end"
    try:
        stdout, stderr = process.communicate(timeout=timeout)
        ended = f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        stdout, stderr = process.communicate()
    assert ended == f"ended with {status}", (
        f"{' '.join(words)} {ended}\n--- stdout:\n{stdout}\n--- stderr:\n{stderr}"
    )
    return subprocess.CompletedProcess(words, status, stdout, stderr)


def messages(stderr: str) -> list[str]:
    """Returns the lines that distmnist itself wrote, without the launchers' tags."""
    return [
        line[line.index("distmnist: ") :]
        for line in stderr.splitlines()
        if "distmnist: " in line
    ]
