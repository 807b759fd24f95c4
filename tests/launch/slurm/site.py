"""A Slurm site on this machine: a controller, and nodes in namespaces of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.submit.slurm import commands
from launch.submit.slurm.commands import Task
from tests.launching import ROOT, environment

_SCRIPT = ROOT.parent / "shared/slurm/site.sh"
_PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "ip", "nsenter")
SUBMIT = ROOT / "launch/submit_slurm"


def missing() -> str:
    """Returns why there can be no site here; "" if there can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    absent = [name for name in _PROGRAMS if not shutil.which(name, path=path)]
    if os.geteuid() != 0:
        return "only root can make the nodes of a Slurm site"
    if not _SCRIPT.exists():
        return "there is no script that brings up a Slurm site"
    return f"there is no {absent[0]}" if absent else ""


class Site:
    """A site, as a context manager.

    Attributes:
        directory: with its configuration and logs.
    """

    def __init__(self, directory: Path):
        """Does not start it."""
        self.directory = directory

    def __enter__(self) -> Site:
        """Starts it."""
        self._call("up", timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all its processes."""
        self._call("down", timeout=60)

    def _call(self, verb: str, *words: object, timeout: float) -> None:
        command = ["bash", str(_SCRIPT), verb, str(self.directory), *map(str, words)]
        subprocess.run(command, check=True, timeout=timeout)

    def prefix(self, host: str) -> tuple[str, ...]:
        """Returns the words before a command that runs it on a host."""
        return ("bash", str(_SCRIPT), "exec", str(self.directory), host)

    def crash(self, node: str) -> None:
        """Ends a node at once."""
        self._call("crash", node, timeout=30)

    def boot(self, node: str) -> None:
        """Starts a node again."""
        self._call("boot", node, timeout=60)

    def run(
        self, *words: object, host: str = "ctl", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host, by default on the login node."""
        return subprocess.run(
            [*self.prefix(host), *map(str, words)],
            cwd=self.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def submit(self, *flags: str, status: int = 0, timeout: float = 120) -> str:
        """Runs launch/submit_slurm; returns what it printed on both streams."""
        done = self.run(SUBMIT, *flags, timeout=timeout)
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    def job(self, number: str) -> Task:
        """Returns the state of a job."""
        done = self.run("scontrol", "--oneliner", "show", "job", number)
        assert done.returncode == 0, done.stderr
        return commands._parse(done.stdout.splitlines()[0])

    def wait(self, condition: Callable[[], object], log: Path, timeout: float) -> None:
        """Waits for a condition; the job's log is shown if that takes too long."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                found = sorted(log.glob("slurm-*.out")) if log.is_dir() else []
                text = "\n".join(path.read_text() for path in found)
                raise AssertionError(f"timed out:\n{text}")
            time.sleep(0.2)


def records(log_dir: Path, kind: str) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics of a kind; none before it starts."""
    path = log_dir / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [line for line in map(json.loads, lines) if line["kind"] == kind]
