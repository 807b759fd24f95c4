"""The life of a job's pods, with the commands of k8s/, real ssh, MPI and ranks."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import k8s_pods
from tests.k8s_pods import Pod, Pods
from tests.launching import ROOT

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

JOB = "rehearsal"
WORKERS = [f"{JOB}-worker-0", f"{JOB}-worker-1"]
LAUNCHER = f"{JOB}-launcher"

MPIJOB: dict[str, Any] = yaml.safe_load((ROOT / "k8s/base/mpijob.yaml").read_text())

VENV = "/opt/distmnist/.venv"
# As k8s/Dockerfile sets it.
IMAGE_ENV = {
    "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "OPAL_PREFIX": VENV,
    "PYTHONUNBUFFERED": "1",
}
# As the MPI Operator sets it for a launcher.
LAUNCHER_ENV = {
    **IMAGE_ENV,
    "K_MPI_JOB_ROLE": "launcher",
    "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
    "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
    "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
    "OMPI_MCA_orte_set_default_slots": "1",
}


def container(role: str) -> dict[str, Any]:
    """Returns the container of a role, "Launcher" or "Worker"."""
    template = MPIJOB["spec"]["mpiReplicaSpecs"][role]["template"]
    result: dict[str, Any] = template["spec"]["containers"][0]
    return result


def launcher_command(*flags: str) -> list[str]:
    """Returns the launcher's command, with flags of distmnist.train added."""
    return [*container("Launcher")["command"], "--dataset=fake", *flags]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Two workers and a launcher, as the operator sets them up; none runs yet."""
    data, mpi, nothing = (tmp_path / name for name in ("data", "mpi", "nothing"))
    for path in (data, mpi, nothing):
        path.mkdir()
    names = [f"{worker}.{JOB}-worker.default.svc" for worker in WORKERS]
    (mpi / "hostfile").write_text("".join(f"{name} slots=1\n" for name in names))
    hosts = {LAUNCHER: mpi, **{worker: nothing for worker in WORKERS}}
    with Pods(JOB, hosts, data) as pods:
        yield pods


def start_workers(pods: Pods) -> list[Pod]:
    return [pods.start(w, container("Worker")["command"], IMAGE_ENV) for w in WORKERS]


def wait_for(what: Callable[[], bool], pod: Pod, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert pod.poll() is None, f"{pod.name} ended early ({pod.poll()}):\n{pod.log}"
        assert time.monotonic() < end, f"{pod.name}: not in time:\n{pod.log}"
        time.sleep(0.1)


def test_launcher_comes_first_and_trains_on_both_workers(pods: Pods) -> None:
    launcher = pods.start(LAUNCHER, launcher_command("--max_steps=200"), LAUNCHER_ENV)
    time.sleep(3)
    assert launcher.poll() is None
    assert launcher.log == ""
    workers = start_workers(pods)
    status = launcher.wait(90)
    assert status == 0, launcher.log + workers[0].log
    assert "Step 200: loss = " in launcher.log


def test_ends_when_a_worker_is_lost_and_goes_on_from_the_checkpoint(pods: Pods) -> None:
    steps = ("--max_steps=100000", "--checkpoint_every=100", "--log_every=100")
    workers = start_workers(pods)
    launcher = pods.start(LAUNCHER, launcher_command(*steps), LAUNCHER_ENV)
    wait_for(lambda: "Step 500:" in launcher.log, launcher)

    workers[1].kill()
    begin = time.monotonic()
    assert launcher.wait(50) != 0
    print("killed ->", time.monotonic() - begin, launcher.log[-1500:])
    assert workers[0].exec(["pgrep", "-f", "[d]istmnist.train"]).returncode == 1

    # The operator's next launcher comes while the worker is still on its way back.
    flags = (*steps[1:], "--max_steps=200000")
    launcher = pods.start(LAUNCHER, launcher_command(*flags), LAUNCHER_ENV)
    time.sleep(2)
    restarted = pods.start(WORKERS[1], container("Worker")["command"], IMAGE_ENV)
    wait_for(lambda: "Step " in launcher.log, launcher)
    assert "Continuing from checkpoint /data/logs/distmnist/model.ckpt-" in launcher.log

    # The launcher's pod is stopped: a rank is told before mpirun is.
    hook = container("Launcher")["lifecycle"]["preStop"]["exec"]["command"]
    begin = time.monotonic()
    print(launcher.exec(hook))
    assert launcher.wait(20) != 0
    print("hook ->", time.monotonic() - begin, launcher.log[-1500:])

    # A worker's pod is stopped, likewise.
    launcher = pods.start(LAUNCHER, launcher_command(*flags), LAUNCHER_ENV)
    wait_for(lambda: "Step " in launcher.log, launcher)
    hook = container("Worker")["lifecycle"]["preStop"]["exec"]["command"]
    begin = time.monotonic()
    print(workers[0].exec(hook))
    assert launcher.wait(20) != 0
    print("hook ->", time.monotonic() - begin, launcher.log[-1500:])
    assert restarted.poll() is None
    workers[0].stop()
    assert workers[0].wait(10) == 0


def test_ends_when_a_machine_vanishes(pods: Pods) -> None:
    workers = start_workers(pods)
    command = launcher_command("--max_steps=1000000")
    launcher = pods.start(LAUNCHER, command, LAUNCHER_ENV)
    wait_for(lambda: "Step 500:" in launcher.log, launcher)
    workers[1].vanish()
    begin = time.monotonic()
    assert launcher.wait(110) != 0
    print("vanished", time.monotonic() - begin, launcher.log[-1500:])
