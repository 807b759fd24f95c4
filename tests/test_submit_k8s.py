"""Submitting, with the real client, to an API server that behaves and misbehaves."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.submit import api, follow, program, state
from tests.fake_api_server import FakeApiServer, Object, status
from tests.launching import ROOT, environment, reset_flags

SUBMIT = str(ROOT / "launch/submit_k8s")
NAME = "distmnist"
FLAGS = ["--image=distmnist:cpu", "--workers=2"]
TRAINING = ["--", "--max_steps=300"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setattr(api, "_RETRY", 0.05)
        reset_flags()
        yield server
        reset_flags()


class Run:
    """A run of the program, which goes on while the test plays the cluster."""

    def __init__(self, *arguments: str):
        self._process = subprocess.Popen(
            [sys.executable, SUBMIT, *arguments],
            env={**environment(), "KUBECONFIG": os.environ["KUBECONFIG"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self, status: int) -> tuple[str, str]:
        """Returns standard output and error of the run, which ends with a status."""
        try:
            stdout, stderr = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"no end:\n{self._process.communicate()}") from None
        assert self._process.returncode == status, stdout + stderr
        return stdout, stderr


def pod(role: str, name: str, **status: Any) -> Object:
    """Returns a pod of the job, with a status."""
    labels = {
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/component": role,
    }
    limits = {"limits": {"memory": "2Gi"}}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": role, "resources": limits}]},
        "status": {"phase": "Pending", **status},
    }


def running(role: str, name: str) -> Object:
    container = {"ready": True, "state": {"running": {}}}
    return pod(role, name, phase="Running", containerStatuses=[container])


def ended(role: str, name: str, code: int, reason: str = "Error") -> Object:
    end = {"terminated": {"exitCode": code, "reason": reason}}
    container = {"ready": False, "state": end}
    phase = "Failed" if code else "Succeeded"
    return pod(role, name, phase=phase, containerStatuses=[container])


def waiting(role: str, name: str, reason: str, message: str) -> Object:
    held = {"state": {"waiting": {"reason": reason, "message": message}}}
    return pod(role, name, containerStatuses=[held])


def unschedulable(name: str, message: str) -> Object:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    return pod("worker", name, conditions=[condition])


def start(server: FakeApiServer) -> None:
    """Plays the operator and the kubelets: all pods run."""
    server.wait_for("mpijobs", NAME)
    for i in range(2):
        server.put("pods", running("worker", f"{NAME}-worker-{i}"))
    server.put("pods", running("launcher", f"{NAME}-launcher-abcde"))


def finish(server: FakeApiServer, condition: str, **about: str) -> None:
    """Plays the operator: the job has ended."""
    job = server.wait_for("mpijobs", NAME)
    job["status"] = {"conditions": [{"type": condition, "status": "True", **about}]}
    server.put("mpijobs", job)


def say(server: FakeApiServer, *steps: int, pod: str = "abcde") -> list[str]:
    """Plays the training: lines of steps, which it returns."""
    lines = [f"Step {step}: loss = 0.57 (0.001 sec)" for step in steps]
    server.write_log(f"{NAME}-launcher-{pod}", *lines)
    return lines


def test_follows_a_job_to_its_success(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    job = server.wait_for("mpijobs", NAME)
    worker = f"{NAME}-worker-"
    scarce = "0/3 nodes are available: 1 node(s) had taints, 3 Insufficient cpu."
    server.put("pods", unschedulable(worker + "0", scarce))
    server.put("pods", running("worker", worker + "1"))
    time.sleep(0.3)
    start(server)
    lines = say(server, 100, 200)
    time.sleep(0.3)
    lines += say(server, 300)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 0))
    finish(server, "Succeeded")
    stdout, stderr = run.end(0)
    assert stdout.splitlines() == lines
    assert stderr.splitlines() == [
        "submit_k8s: distmnist was submitted to namespace team",
        *(
            line
            for line in stderr.splitlines()
            if "no pods yet" in line or "workers 0/2" in line
        ),
        "submit_k8s: distmnist: pending: distmnist-worker-0 Unschedulable: not enough "
        "cpu, workers 1/2 ready",
        *(line for line in stderr.splitlines() if "starting" in line),
        "submit_k8s: distmnist: running, workers 2/2 ready",
        "submit_k8s: distmnist: done, step 300 of 300, loss 0.57",
    ]
    assert server.get("persistentvolumeclaims", NAME)
    assert job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 2
