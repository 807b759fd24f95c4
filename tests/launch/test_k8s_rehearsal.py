"""The lifecycle of a job's pods, with the commands of k8s/, real ssh, MPI and ranks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.submit.k8s import manifests
from launch.submit.k8s.options import Options
from tests.launch import k8s_pods
from tests.launch.k8s_pods import Pod, Pods

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

JOB = "rehearsal"
WORKERS = [f"{JOB}-worker-0", f"{JOB}-worker-1"]
LAUNCHER = f"{JOB}-launcher"

(_, MPIJOB) = manifests.render(Options(image="distmnist:cpu", name=JOB))
RANKS = ["pgrep", "-f", "[d]istmnist.train"]

VENV = "/opt/distmnist/.venv"
# Set by k8s/Dockerfile.
IMAGE_ENV = {
    "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "OPAL_PREFIX": VENV,
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


def container(role: str) -> dict[str, Any]:
    """Returns the container of a role, "Launcher" or "Worker"."""
    launcher, worker = manifests.templates(MPIJOB)
    template = launcher if role == "Launcher" else worker
    result: dict[str, Any] = template["spec"]["containers"][0]
    return result


def launcher_command(*flags: str) -> list[str]:
    """Returns the command of the launcher, with additional training flags."""
    return [*container("Launcher")["command"], "--dataset=fake", *flags]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Two workers and a launcher, as the operator configures them; none is started."""
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


def wait_for(condition: Callable[[], bool], pod: Pod, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert pod.poll() is None, f"{pod.name} ended early ({pod.poll()}):\n{pod.log}"
        assert time.monotonic() < end, f"{pod.name}: timed out:\n{pod.log}"
        time.sleep(0.1)


def test_launcher_starts_first_and_trains_on_both_workers(pods: Pods) -> None:
    launcher = pods.start(LAUNCHER, launcher_command("--max_steps=200"), LAUNCHER_ENV)
    time.sleep(3)
    assert launcher.poll() is None
    assert launcher.log == ""
    workers = start_workers(pods)
    status = launcher.wait(90)
    assert status == 0, launcher.log + workers[0].log
    assert "Step 200: loss = " in launcher.log
    metrics = (pods.data / "logs" / JOB / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[-1])["size"] == 2
    assert (pods.data / "logs" / JOB).stat().st_uid == 1000
    assert all("Accepted publickey for distmnist" in worker.log for worker in workers)


def test_job_ends_with_a_lost_worker_and_resumes_from_the_checkpoint(
    pods: Pods,
) -> None:
    steps = ("--checkpoint_every=20", "--log_every=20", "--max_steps=1000000")
    workers = start_workers(pods)
    launcher = pods.start(LAUNCHER, launcher_command(*steps), LAUNCHER_ENV)
    wait_for(lambda: "Step 60:" in launcher.log, launcher)

    workers[1].kill()
    assert launcher.wait(20) != 0
    assert workers[0].exec(RANKS).returncode == 1  # none remains

    # The operator starts the next launcher before the worker has restarted.
    launcher = pods.start(LAUNCHER, launcher_command(*steps), LAUNCHER_ENV)
    time.sleep(2)
    workers[1] = pods.start(WORKERS[1], container("Worker")["command"], IMAGE_ENV)
    wait_for(lambda: "Step " in launcher.log, launcher)
    assert "Resuming from checkpoint /data/logs/rehearsal/model.ckpt-" in launcher.log
    assert "Step 20:" not in launcher.log

    # The launcher's pod is stopped: all ranks write a checkpoint and exit.
    assert workers[1].exec(RANKS).returncode == 0
    launcher.stop()
    assert launcher.wait(20) == 143
    assert "stopped by SIGTERM at step" in launcher.log
    assert [worker.exec(RANKS).returncode for worker in workers] == [1, 1]


@pytest.mark.timeout(180)
def test_job_ends_when_a_worker_is_stopped_or_its_node_fails(pods: Pods) -> None:
    command = launcher_command("--max_steps=1000000", "--log_every=20")
    workers = start_workers(pods)
    launcher = pods.start(LAUNCHER, command, LAUNCHER_ENV)
    wait_for(lambda: "Step 60:" in launcher.log, launcher)
    stopped = workers[0].exec(
        container("Worker")["lifecycle"]["preStop"]["exec"]["command"]
    )
    assert stopped.returncode == 0
    assert launcher.wait(20) == 143
    assert "stopped by SIGTERM at step" in launcher.log
    workers[0].stop()
    assert workers[0].wait(10) == 0

    workers[0] = pods.start(WORKERS[0], container("Worker")["command"], IMAGE_ENV)
    launcher = pods.start(LAUNCHER, command, LAUNCHER_ENV)
    wait_for(lambda: "Step " in launcher.log, launcher)
    workers[1].disconnect()
    assert launcher.wait(90) != 0  # keepalive: 30 s and 3 probes of 10 s


def test_waiting_for_workers_times_out(pods: Pods) -> None:
    wait = container("Launcher")["command"][:1]
    launcher = pods.start(LAUNCHER, [*wait, "--seconds", "1", "true"], LAUNCHER_ENV)
    names = "127.0.0.1 localhost\n"  # the DNS has no workers yet
    nameless = pods.start(
        LAUNCHER, [*wait, "--seconds", "0", "true"], LAUNCHER_ENV, names
    )
    assert nameless.wait(30) == 1
    assert "0 of 2 workers answer, 2 required; rehearsal-worker-0" in nameless.log
    assert "Could not resolve hostname" in nameless.log
    assert launcher.wait(60) == 1
    assert "0 of 2 workers answer, 2 required; rehearsal-worker-0" in launcher.log
    pods.start(WORKERS[1], container("Worker")["command"], IMAGE_ENV)
    command = [*wait, "--at-least", "1", "echo", "go"]
    launcher = pods.start(LAUNCHER, command, LAUNCHER_ENV)
    assert launcher.wait(60) == 0
    assert launcher.log == "go\n"


def test_elastic_job_starts_with_one_worker_and_adds_another(pods: Pods) -> None:
    script = "#!/bin/sh\n" + "".join(
        f"echo {worker}.{JOB}-worker.default.svc\n" for worker in WORKERS
    )
    pods.add_file(LAUNCHER, "discover_hosts.sh", script)
    flags = ("--dataset=fake", "--max_steps=1000000", "--log_every=20")
    options = Options(image="distmnist:cpu", name=JOB, elastic=True, training=flags)
    job = manifests.render(options)[-1]
    launcher, worker = (
        template["spec"]["containers"][0] for template in manifests.templates(job)
    )
    pods.start(WORKERS[1], worker["command"], IMAGE_ENV)  # the first is missing
    pod = pods.start(LAUNCHER, launcher["command"], LAUNCHER_ENV)
    wait_for(lambda: "[0]<stdout>:Step 40:" in pod.log, pod, 90)
    pods.start(WORKERS[0], worker["command"], IMAGE_ENV)
    metrics = pods.data / "logs" / JOB / "metrics.jsonl"
    wait_for(lambda: '"size": 2' in metrics.read_text(), pod, 90)
