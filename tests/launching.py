"""Runs commands in tests, with a timeout; failures include the output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BIN = Path(sys.executable).parent

# Launcher commands, without the number of ranks.
PLAIN = ()
MPIRUN = ("mpirun", "--tag-output", "-np")
HOROVODRUN = ("horovodrun", "-np")
HOROVODRUN_GLOO = ("horovodrun", "--gloo", "-np")

TRAIN = (sys.executable, "-m", "distmnist.train")


def environment() -> dict[str, str]:
    """Returns the environment of a shell with .venv active, without MPI variables."""
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
    """Runs a command and checks its exit status.

    Args:
        command: Command to run.
        status: Expected exit status.
        cwd: Working directory.
        timeout: Seconds after which the command and its child processes are killed.
        env: Variables in addition to those of `environment`.

    Returns:
        The completed process, with standard output and standard error.

    Raises:
        AssertionError: The exit status differs, or the command timed out; with its
            output.
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
    ended = "timed out"
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
    """Returns the messages of distmnist itself, without the launchers' prefixes."""
    return [
        line[line.index("distmnist: ") :]
        for line in stderr.splitlines()
        if "distmnist: " in line
    ]
