"""A job in emulated pods: a launcher and two workers, as the MPI Operator sets them up.

Commands, volumes and hooks are those of the manifests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch.submit.k8s import manifests
from launch.submit.k8s.options import Options
from tests.launch.k8s.pods import Pod, Pods
from tests.launch.k8s.runtime import expanded

NAME = "rehearsal"
WORKERS = [f"{NAME}-worker-0", f"{NAME}-worker-1"]
LAUNCHER = f"{NAME}-launcher"
EVERY = 20  # steps between two lines of the metrics

_VENV = "/opt/distmnist/.venv"
# Set by k8s/Dockerfile.
IMAGE_ENV = {
    "PATH": f"{_VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "OPAL_PREFIX": _VENV,
    "PYTHONUNBUFFERED": "1",
}
# Set by the MPI Operator for a launcher.
LAUNCHER_ENV = {
    **IMAGE_ENV,
    "K_MPI_JOB_ROLE": "launcher",
    "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
    "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
    "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
    "OMPI_MCA_orte_set_default_slots": "1",
}
# Finds ranks, whatever program they run.
RANKS = ["sh", "-c", "grep -lsz ^OMPI_COMM_WORLD_RANK= /proc/[0-9]*/environ"]
# Trains for ever, and logs often.
LONG = ("--dataset=fake", "--max_steps=100000000", f"--log_every={EVERY}")


class Job:
    """The pods of a job; none is started at first.

    Attributes:
        pods: where they run.
        launcher: the newest pod of the launcher.
        workers: the newest pod of each worker.
        log_dir: run directory on the volume.
    """

    launcher: Pod

    def __init__(self, pods: Pods, options: Mapping[str, Any]):
        """Renders the manifests.

        Args:
            pods: of the hosts `LAUNCHER` and `WORKERS`.
            options: of `submit_k8s`.
        """
        self.pods = pods
        self.workers: dict[str, Pod] = {}
        self.log_dir = pods.data / "logs" / NAME
        manifest = manifests.render(
            Options(image="distmnist:cpu", name=NAME, **options)
        )[-1]
        self._launcher, self._worker = manifests.templates(manifest)

    def start_workers(self) -> None:
        """Starts both workers."""
        for name in WORKERS:
            self.start_worker(name)

    def start_worker(self, name: str) -> None:
        """Starts a worker, for the first time or again."""
        self.workers[name] = self.pods.start(name, self._worker, IMAGE_ENV)

    def start_launcher(self, *flags: str, names: str | None = None) -> None:
        """Starts the launcher, for the first time or again.

        Args:
            flags: of distmnist.train, in addition to those of the manifest.
            names: see `Pods.start`.
        """
        self.run_launcher(*self.launcher_command(), *flags, names=names)

    def run_launcher(self, *command: str, names: str | None = None) -> None:
        """Starts the launcher with another command."""
        self.launcher = self.pods.start(
            LAUNCHER, self._launcher, LAUNCHER_ENV, command, names
        )

    def launcher_command(self) -> list[str]:
        """Returns the command of the launcher in the manifest."""
        return expanded(self._launcher["spec"]["containers"][0]["command"])

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Waits while the launcher runs; fails the test if it ends, or is too slow."""
        end = time.monotonic() + seconds
        pod = self.launcher
        while not condition():
            assert pod.poll() is None, f"{pod.name} ended ({pod.poll()}):\n{pod.log}"
            assert time.monotonic() < end, f"{pod.name}: timed out:\n{pod.log}"
            time.sleep(0.1)

    def train(self, seconds: float = 200) -> int:
        """Waits until the newest start has taken some steps; returns the last of them.

        Args:
            seconds: timeout.
        """
        self.wait_for(lambda: "Step " in self.launcher.log, seconds)
        first = self.records("start")[-1]["step"]
        self.wait_for(lambda: self.reached() >= first + 3 * EVERY, seconds)
        return self.reached()

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl of a kind; none before the run starts."""
        path = self.log_dir / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().split("\n")[:-1]
        return [line for line in map(json.loads, lines) if line["kind"] == kind]

    def reached(self) -> int:
        """Returns the last step in the metrics; 0 without one."""
        found = self.records("train")
        return int(found[-1]["step"]) if found else 0

    def checkpoint(self) -> int:
        """Returns the step of the newest checkpoint; -1 without one."""
        found = self.log_dir.glob("model.ckpt-*.index")
        return max((int(p.stem.rpartition("-")[2]) for p in found), default=-1)

    def check_contiguous(self) -> None:
        """Checks that the metrics hold every step once, over all starts."""
        steps = [line["step"] for line in self.records("train")]
        assert steps == list(range(EVERY, steps[-1] + 1, EVERY))

    def left(self) -> str:
        """Returns the ranks that still run on the workers that do; "" if none."""
        running = (pod for pod in self.workers.values() if pod.poll() is None)
        return "".join(pod.exec(RANKS).stdout for pod in running)


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Two workers and a launcher, as the operator configures them; none is started."""
    data, mpi, nothing = (tmp_path / name for name in ("data", "mpi", "nothing"))
    for path in (data, mpi, nothing):
        path.mkdir()
    names = [f"{worker}.{NAME}-worker.default.svc" for worker in WORKERS]
    (mpi / "hostfile").write_text("".join(f"{name} slots=1\n" for name in names))
    hosts = {LAUNCHER: mpi, **{worker: nothing for worker in WORKERS}}
    with Pods(NAME, hosts, data) as pods:
        yield pods


@pytest.fixture
def job(pods: Pods) -> Job:
    """A job of the base manifest; none of its pods is started."""
    return Job(pods, {"workers": 2})
