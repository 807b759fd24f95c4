"""launch/submit_k8s, with the real client and a fake API server that can fail."""

from __future__ import annotations

import json
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
from kubernetes.config import kube_config

from launch.submit.k8s import connection, follow, program
from tests.launch.k8s.fake_api_server import PLURALS, FakeApiServer, status
from tests.launch.k8s.objects import (
    NAME,
    ended,
    pod,
    running,
    unschedulable,
    waiting,
    warning,
)
from tests.launching import ROOT, environment

SUBMIT = str(ROOT / "launch/submit_k8s")
FLAGS = ["--image=distmnist:cpu", "--workers=2"]
TRAINING = ["--", "--max_steps=300"]
WORKER = f"{NAME}-worker-0"
SCARCE = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu. preemption: no."


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        # For this process: the client reads KUBECONFIG when it is imported.
        where = str(tmp_path / "kubeconfig")
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", where)
        monkeypatch.setattr(connection, "_RETRY_SECONDS", 0.05)
        monkeypatch.setattr(program, "_START_SECONDS", 0.2)
        yield server


class Run:
    """A run of the program in the background, while the test acts as the cluster."""

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
        """Waits for an exit status; returns standard output and standard error."""
        try:
            stdout, stderr = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"timed out:\n{self._process.communicate()}") from None
        assert self._process.returncode == status, stdout + stderr
        return stdout, stderr


def start(server: FakeApiServer) -> None:
    """Plays the operator and the kubelets: all pods run."""
    server.wait_for("mpijobs", NAME)
    for i in range(2):
        server.put("pods", running("worker", f"{NAME}-worker-{i}"))
    server.put("pods", running("launcher", f"{NAME}-launcher-abcde"))


def finish(server: FakeApiServer, condition: str, **about: str) -> None:
    """Acts as the operator: the job has ended."""
    job = server.wait_for("mpijobs", NAME)
    job["status"] = {"conditions": [{"type": condition, "status": "True", **about}]}
    server.put("mpijobs", job)


def log_steps(server: FakeApiServer, *steps: int, pod: str = "abcde") -> list[str]:
    """Acts as the training: logs steps, and returns the lines."""
    lines = [f"Step {step}: loss = 0.57 (0.001 sec)" for step in steps]
    server.write_log(f"{NAME}-launcher-{pod}", *lines)
    return lines


def assert_printed(stderr: str, *lines: str) -> None:
    """Checks that a run has printed these messages, in this order."""
    printed = iter(stderr.splitlines())
    for line in lines:
        assert f"submit_k8s: {line}" in printed, f"no {line!r} in\n{stderr}"


def test_follows_a_job_until_it_succeeds(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    job = server.wait_for("mpijobs", NAME)
    worker = f"{NAME}-worker-"
    scarce = "0/3 nodes are available: 1 node(s) had taints, 3 Insufficient cpu."
    server.put("pods", unschedulable(worker + "0", scarce))
    server.put("pods", running("worker", worker + "1"))
    time.sleep(0.3)
    start(server)
    lines = log_steps(server, 100, 200)
    time.sleep(0.3)
    lines += log_steps(server, 300)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 0))
    finish(server, "Succeeded")
    stdout, stderr = run.end(0)
    assert stdout.splitlines() == lines
    assert_printed(
        stderr,
        "distmnist was submitted to namespace team",
        "distmnist: pending: distmnist-worker-0 Unschedulable: not enough cpu, workers "
        "1/2 ready",
        "distmnist: running, workers 2/2 ready",
        "distmnist: done, step 300 of 300, loss 0.57",
    )
    assert server.get("persistentvolumeclaims", NAME)
    assert job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 2


def test_each_log_line_is_read_once_when_connections_break(
    server: FakeApiServer,
) -> None:
    server.drop_logs_after = 5
    run = Run(*FLAGS, *TRAINING)
    start(server)
    lines = log_steps(
        server, *range(1, 9)
    )  # within a second, cut off in the fifth line
    time.sleep(2.5)
    server.drop_watches_after = 1
    server.put("pods", running("worker", f"{NAME}-worker-0"))
    time.sleep(0.3)
    server.expire_watches = True  # the next watch is answered with 410 Gone
    lines += log_steps(server, *range(9, 12))
    time.sleep(1.5)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 0))
    lines += log_steps(server, 12)  # written after the status
    finish(server, "Succeeded")
    stdout, stderr = run.end(0)
    assert stdout.splitlines() == lines
    assert_printed(
        stderr,
        "distmnist: running, workers 2/2 ready",
        "distmnist: connection lost, retrying",
        "distmnist: running, workers 2/2 ready",
        "distmnist: done, step 12 of 300, loss 0.57",
    )
    assert server.dropped >= 2
    assert not server.expire_watches


def test_reads_the_logs_of_all_launchers(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    lines = log_steps(server, 100)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 1))
    time.sleep(0.3)
    server.put("pods", running("launcher", f"{NAME}-launcher-again"))
    lines += log_steps(server, 200, 300, pod="again")
    server.put("pods", ended("launcher", f"{NAME}-launcher-again", 0))
    finish(server, "Succeeded")
    stdout, _ = run.end(0)
    assert stdout.splitlines() == lines


def test_exit_status_is_that_of_the_training(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 2))
    finish(server, "Failed", reason="BackoffLimitExceeded", message="no more")
    _, stderr = run.end(2)
    assert_printed(
        stderr, "distmnist: failed: distmnist-launcher-abcde Error: status 2"
    )


def test_reports_a_worker_that_exceeded_its_memory_limit(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    server.write_log(f"{NAME}-worker-1", "Accepted publickey for distmnist")
    killed = running("worker", f"{NAME}-worker-1")
    last = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    killed["status"]["containerStatuses"][0]["lastState"] = last
    server.put("pods", killed)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 205))
    finish(server, "Failed", reason="BackoffLimitExceeded")
    stdout, stderr = run.end(205)
    assert stdout == "distmnist-worker-1: Accepted publickey for distmnist\n"
    assert_printed(
        stderr,
        "distmnist: failed: distmnist-worker-1 OOMKilled: exceeded its memory limit, "
        "2Gi",
    )


def test_reports_a_worker_that_was_evicted(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    evicted = pod("worker", f"{NAME}-worker-0", phase="Failed", reason="Evicted")
    evicted["status"]["message"] = "The node was low on memory."
    server.put("pods", evicted)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 1))
    finish(server, "Failed", reason="MPIJobEvicted")
    _, stderr = run.end(1)
    about = "distmnist-worker-0 Evicted: The node was low on memory."
    assert_printed(stderr, f"distmnist: failed: {about}")


def in_process(*arguments: str) -> int:
    """Runs the program in this process, where its constants can be patched."""
    return program.main(["submit_k8s", *arguments])


def test_gives_up_on_an_image_that_cannot_be_pulled(
    server: FakeApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(follow, "_PATIENCE", 0.2)
    held = ("ImagePullBackOff", "Back-off pulling image: no answer")
    server.controller = lambda job: server.put("pods", waiting("worker", WORKER, *held))
    assert in_process(*FLAGS, *TRAINING) == 1
    assert_printed(
        capsys.readouterr().err,
        f"distmnist cannot start: {WORKER} ImagePullBackOff: Back-off pulling image: "
        "no answer; it was deleted, and its volume is kept",
    )
    assert server.get("mpijobs", NAME) is None


# Of the containers of pods, and of events about the job or a pod.
REFUSED = 'pods "distmnist-worker-0" is forbidden: violates PodSecurity "restricted"'
NOT_FOUND = 'Failed to pull image "x": rpc error: code = NotFound desc = not found'
TOO_MUCH = (
    'pods "distmnist-worker-0" is forbidden: exceeded quota: team, requested: '
    "limits.memory=2Gi,pods=1, used: limits.memory=0,pods=0, limited: "
    "limits.memory=1Gi,pods=9"
)
IMPOSSIBLE: dict[str, tuple[tuple[str, str], tuple[str, str, str] | None, str]] = {
    "name": (("InvalidImageName", "bad"), None, f"{WORKER} InvalidImageName: bad"),
    "image": (
        ("ErrImagePull", "manifest unknown"),
        None,
        f"{WORKER} ErrImagePull: manifest unknown",
    ),
    "image, backing off": (
        ("ImagePullBackOff", "Back-off"),
        (WORKER, "Failed", NOT_FOUND),
        f"{WORKER} ImagePullBackOff: {NOT_FOUND}",
    ),
    "security": (
        ("", ""),
        (NAME, "MPIJobFailed", f"worker pod created failed: {REFUSED}"),
        f"its pods are refused: worker pod created failed: {REFUSED}",
    ),
    "quota": (
        ("", ""),
        (NAME, "MPIJobFailed", TOO_MUCH),
        f"quota of the namespace exceeded: {TOO_MUCH}",
    ),
}


@pytest.mark.parametrize("how", ["--timeout=60", "--detach"])
@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_job_that_cannot_start_is_reported_at_once_and_deleted(
    server: FakeApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
    how: str,
) -> None:
    held, event, line = IMPOSSIBLE[case]

    def controller(job: dict[str, Any]) -> None:
        if held[0]:
            server.put("pods", waiting("worker", WORKER, *held))
        if event:
            server.put("events", warning(*event))

    server.controller = controller
    monkeypatch.setattr(program, "_START_SECONDS", 9.0)
    begin = time.monotonic()
    assert in_process(*FLAGS, how, *TRAINING) == 1
    assert time.monotonic() - begin < 5
    assert_printed(
        capsys.readouterr().err,
        f"distmnist cannot start: {line}; it was deleted, and its volume is kept",
    )
    assert server.get("mpijobs", NAME) is None


def test_detach_reports_what_the_job_waits_for(
    server: FakeApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "_START_SECONDS", 2.0)
    server.controller = lambda job: server.put("pods", unschedulable(WORKER, SCARCE))
    assert in_process(*FLAGS, "--detach", *TRAINING) == 0
    why = f"pending: {WORKER} Unschedulable: not enough nvidia.com/gpu"
    assert_printed(capsys.readouterr().err, f"distmnist: {why}, workers 0/2 ready")
    assert in_process("--status=distmnist", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "pending" and why.endswith(found["reason"])
    assert found["workers"] == 2 and found["step"] is None
    assert server.get("mpijobs", NAME)


def test_follows_through_restarts_of_the_server(
    server: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    lines = log_steps(server, 100)
    for step in (200, 300):
        time.sleep(0.5)
        # As of a server whose caches are not loaded yet.
        down = {f"GET {each}": (503, status(503, "down")) for each in PLURALS}
        server.refuse = down
        server.drop_all()
        time.sleep(1.5)
        server.refuse = {each: (403, status(403, "forbidden")) for each in down}
        time.sleep(1.5)
        server.refuse = {}
        lines += log_steps(server, step)
        time.sleep(1.5)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 0))
    finish(server, "Succeeded")
    stdout, stderr = run.end(0)
    assert stdout.splitlines() == lines
    messages = stderr.splitlines()
    lost = "submit_k8s: distmnist: connection lost, retrying"
    runs = "submit_k8s: distmnist: running, workers 2/2 ready"
    again = messages[messages.index(lost) :]
    assert again[:4] == [lost, runs, lost, runs], stderr


def test_pods_of_an_earlier_job_of_the_same_name_are_not_its_own(
    server: FakeApiServer,
) -> None:
    old = running("launcher", f"{NAME}-launcher-old")
    gone = {"kind": "Job", "name": f"{NAME}-launcher", "uid": "gone"}
    old["metadata"]["ownerReferences"] = [gone]
    server.put("pods", old)
    log_steps(server, 1, 2, 3, pod="old")
    run = Run(*FLAGS, *TRAINING)
    start(server)
    lines = log_steps(server, 300)
    server.put("pods", ended("launcher", f"{NAME}-launcher-abcde", 0))
    finish(server, "Succeeded")
    assert run.end(0)[0].splitlines() == lines


def test_a_user_of_plain_jobs_needs_no_right_to_others(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse["GET mpijobs"] = (403, status(403, "forbidden"))
    server.refuse["GET trainjobs"] = (404, "404 page not found\n")
    server.refuse["POST persistentvolumeclaims"] = (403, status(403, "forbidden"))
    server.put("persistentvolumeclaims", {"metadata": {"name": NAME}})
    server.controller = lambda job: server.put("pods", running("trainer", "one-abc"))
    assert in_process("--image=x", "--workers=1", "--name=one", "--detach") == 0
    assert in_process("--delete=one") == 0
    assert in_process("--delete=one") == 2
    hidden = "no job one in namespace team (MPIJobs may not be read)"
    assert hidden in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kinds", "plural"),
    [
        (["batch/v1", "kubeflow.org/v1"], None),
        (
            ["batch/v1", "kubeflow.org/v2beta1", "trainer.kubeflow.org/v1alpha1"],
            "mpijobs",
        ),
    ],
)
def test_the_kind_of_job_is_one_that_the_cluster_has(
    server: FakeApiServer,
    capsys: pytest.CaptureFixture[str],
    kinds: list[str],
    plural: str | None,
) -> None:
    server.kinds = kinds
    assert in_process(*FLAGS, "--detach", *TRAINING) == (0 if plural else 2)
    if plural:
        assert server.get(plural, NAME)
    else:
        assert "has neither MPIJobs nor TrainJobs" in capsys.readouterr().err
        assert not any("POST" in request for request in server.requests)


def test_what_rules_out_the_jobs_that_the_cluster_has_is_said(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.kinds = ["batch/v1", "trainer.kubeflow.org/v1alpha1"]
    assert in_process(*FLAGS, "--spread", *TRAINING) == 2
    message = capsys.readouterr().err
    assert "the cluster has no MPIJobs: install the MPI Operator" in message
    assert "omit --spread" in message


def test_times_out_if_no_pod_can_be_scheduled(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    scarce = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu. preemption: no."
    server.controller = lambda job: server.put("pods", unschedulable(WORKER, scarce))
    assert in_process(*FLAGS, "--timeout=1", *TRAINING) == 124
    assert_printed(
        capsys.readouterr().err,
        "distmnist: pending: distmnist-worker-0 Unschedulable: not enough "
        "nvidia.com/gpu, workers 0/2 ready",
        "distmnist: timed out, pending: distmnist-worker-0 Unschedulable: not enough "
        "nvidia.com/gpu; it was deleted, and its volume is kept",
    )
    assert server.get("mpijobs", NAME) is None


def test_reports_why_there_are_no_pods(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    full = "exceeded quota: gpus"
    event = warning(f"{NAME}-launcher", "FailedCreate", full)
    server.controller = lambda job: server.put("events", event)
    assert in_process(*FLAGS, "--timeout=1", *TRAINING) == 124
    about = f"quota of the namespace exceeded: {full}"
    assert_printed(
        capsys.readouterr().err,
        f"distmnist: pending: {about}, workers 0/2 ready",
        f"distmnist: timed out, pending: {about}; it was deleted, and its volume is "
        "kept",
    )


def test_reports_a_deadline_that_the_cluster_enforced(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    server.remove("pods", f"{NAME}-launcher-abcde")
    finish(server, "Failed", reason="DeadlineExceeded")
    assert "timed out" in run.end(124)[1]


def test_a_detached_job_that_has_ended_is_reported(
    server: FakeApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "_START_SECONDS", 9.0)
    server.controller = lambda _: finish(server, "Failed", reason="DeadlineExceeded")
    assert in_process(*FLAGS, "--detach", *TRAINING) == 124
    assert "timed out" in capsys.readouterr().err
    assert server.get("mpijobs", NAME) is None


def test_reports_that_the_job_was_deleted(server: FakeApiServer) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    time.sleep(0.5)
    server.remove("mpijobs", NAME)
    assert_printed(run.end(1)[1], "the job distmnist was deleted")


FORBIDDEN = 'mpijobs.kubeflow.org is forbidden: User "me" cannot create'
QUOTA = "pods is forbidden: exceeded quota: q, requested: count/mpijobs.kubeflow.org=1"


@pytest.mark.parametrize(
    ("request_", "answer", "line"),
    [
        (
            "POST mpijobs",
            (404, "404 page not found\n"),
            "the cluster has neither MPIJobs nor TrainJobs: install the MPI Operator",
        ),
        (
            "POST mpijobs",
            (403, status(403, FORBIDDEN)),
            "forbidden: request permission",
        ),
        (
            "POST mpijobs",
            (403, status(403, QUOTA)),
            "quota of the namespace exceeded: ",
        ),
        (
            "POST mpijobs",
            (401, status(401, "Unauthorized")),
            "rejected the credentials",
        ),
        ("POST mpijobs", (422, status(422, "bad\nfield")), "(422): bad field"),
        (
            "POST persistentvolumeclaims",
            (404, status(404, 'namespaces "team" not found', "team")),
            'namespaces "team" not found: create it first',
        ),
        ("POST mpijobs", (503, status(503, "not now")), "no response from the cluster"),
        ("GET pods", (403, status(403, "pods is forbidden")), "forbidden: request"),
    ],
)
def test_a_rejected_request_is_reported_in_one_line(
    server: FakeApiServer,
    capsys: pytest.CaptureFixture[str],
    request_: str,
    answer: tuple[int, Any],
    line: str,
) -> None:
    server.refuse[request_] = answer
    assert in_process(*FLAGS, *TRAINING) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert line in message
    assert "Traceback" not in message


def test_a_job_of_the_same_name_is_not_changed(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(*FLAGS, "--detach", *TRAINING) == 0
    before = server.get("mpijobs", NAME)
    assert in_process(*FLAGS, "--detach", *TRAINING) == 2
    assert "a job distmnist exists in namespace team: give another --name" in (
        capsys.readouterr().err
    )
    assert server.get("mpijobs", NAME) == before
    single = ("--image=d:1", "--workers=1")  # of another kind, in the same directory
    assert in_process(*single, "--detach", *TRAINING) == 2
    assert "a job distmnist exists" in capsys.readouterr().err
    assert server.get("jobs", NAME) is None


def test_submits_once_if_the_response_is_lost(server: FakeApiServer) -> None:
    server.lose_response.add("POST mpijobs")
    assert in_process(*FLAGS, "--detach", *TRAINING) == 0
    assert server.dropped == 1


def test_reports_an_unreachable_cluster(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.__exit__()
    assert in_process(*FLAGS, *TRAINING) == 2
    assert "no response from the cluster at http://127.0.0.1" in capsys.readouterr().err


def test_requires_the_claim_of_a_flag(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(*FLAGS, "--pvc=mine", "--detach", *TRAINING) == 2
    assert 'persistentvolumeclaims "mine" not found' in capsys.readouterr().err
    server.put("persistentvolumeclaims", {"metadata": {"name": "mine"}})
    assert in_process(*FLAGS, "--pvc=mine", "--detach", *TRAINING) == 0
    assert server.get("persistentvolumeclaims", NAME) is None


def test_follows_and_deletes_a_job_by_name(
    server: FakeApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    single = ["--image=x", "--workers=1", "--name=one", "--detach"]
    assert in_process(*single) == 0
    job = server.wait_for("jobs", "one")
    trainer = ended("trainer", "one-abcde", 0)
    trainer["metadata"]["labels"]["app.kubernetes.io/instance"] = "one"
    server.put("pods", trainer)
    server.write_log("one-abcde", "Step 2000: loss = 0.14 (0.001 sec)", "\udcff")
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    server.put("jobs", job)
    assert in_process("--logs=one") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Step 2000: loss = 0.14 (0.001 sec)\n")
    assert "one: done, step 2000 of 2000, loss 0.14" in printed.err
    assert in_process("--status=one") == 0
    printed = capsys.readouterr()
    assert printed.out == "one: done, step 2000 of 2000, loss 0.14\n"
    assert in_process("--delete=one") == 0
    assert server.get("jobs", "one") is None
    assert in_process("--delete=one") == 2
    assert "no job one in namespace team" in capsys.readouterr().err


def test_keeps_the_job_when_interrupted_without_a_terminal(
    server: FakeApiServer,
) -> None:
    run = Run(*FLAGS, *TRAINING)
    start(server)
    time.sleep(0.5)
    run.interrupt()
    ways = "follow it with --logs=distmnist, end it with --delete=distmnist"
    assert_printed(run.end(130)[1], f"distmnist keeps running; {ways}")
    assert server.get("mpijobs", NAME)


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("y", False)])
def test_asks_when_interrupted_at_a_terminal(
    server: FakeApiServer, answer: str, kept: bool
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        env = {**environment(), "KUBECONFIG": os.environ["KUBECONFIG"]}
        os.execve(sys.executable, [sys.executable, SUBMIT, *FLAGS, *TRAINING], env)
    start(server)
    log_steps(server, 100)
    screen = ""

    def read_until(done: Callable[[], bool]) -> None:
        nonlocal screen
        end = time.monotonic() + 20
        while not done():
            assert time.monotonic() < end, screen
            if select.select([terminal], [], [], 0.1)[0]:
                screen += os.read(terminal, 4096).decode()

    read_until(lambda: "running, workers 2/2 ready, step 100 of 300" in screen)
    assert "\r\n\r\n" not in screen
    os.kill(pid, signal.SIGINT)
    read_until(lambda: "delete the job distmnist? [y/N]" in screen)
    os.write(terminal, f"{answer}\n".encode())
    _, wait_status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(wait_status) == 130
    assert bool(server.get("mpijobs", NAME)) is kept


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--workers=2"], "flag --image: give the image"),
        (["--image=x", "--workers=0"], "flag --workers=0: must be at least 1"),
        (
            ["--image=x", "--name=My_Job"],
            "flag --name=My_Job: must be lower-case letters",
        ),
        (["--image=x", "--memory_per_worker=lots"], "must be a Kubernetes quantity"),
        (["--image=x", "--", "--max_steps=-1"], "flag --max_steps=-1: must be at"),
        (["--image=x", "--", "--grace_seconds=60"], "must be at most 25"),
        (["--image=x", "--", "--max_stepz=1"], "Unknown command line flag 'max_stepz'"),
        (["--image=x", "--max_steps=1"], "flags of the training come after --"),
        (["--image=x", "elastic"], "flags of the training come after --"),
    ],
)
def test_a_wrong_flag_sends_no_request(
    server: FakeApiServer,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    assert in_process(*arguments) == 2
    assert line in capsys.readouterr().err
    assert server.requests == []
