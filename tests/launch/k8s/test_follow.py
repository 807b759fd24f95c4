"""The follower of launch/submit_k8s, and an API server that is killed and returns."""

from __future__ import annotations

import time

import pytest

from tests.launch.k8s.cluster import Cluster, wait_for
from tests.launch.k8s.team import Steps, Submission, Team
from tests.launch.k8s.team import steps as numbers

NAME = "distmnist"
RUNNING = f"{NAME}: running"
LOST = "connection lost"
AFTER_RESTARTS = 120  # seconds; controllers wait ever longer before they try again


@pytest.mark.timeout(400)
@pytest.mark.parametrize("restarts", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("workers", "status"), [("--workers=1", 2), ("--workers=2", 0)], ids=["Job", "MPI"]
)
def test_follows_to_the_end_while_the_api_server_restarts(
    cluster: Cluster, team: Team, steps: Steps, workers: str, status: int, restarts: int
) -> None:
    run = team.start(f"--image={steps.image}", workers)
    run.wait_for(RUNNING, AFTER_RESTARTS)
    for _ in range(restarts):
        wait_for_lines(run)
        cluster.restart_apiserver()
        assert run.running(), str(run)
    wait_for_lines(run)
    steps.finish(status)
    run.end(status)
    (pod,) = team.pods("launcher" if workers == "--workers=2" else NAME)
    expected = team.kubelet.log(team.name, pod["metadata"]["name"]).splitlines()
    assert numbers(run.log) == numbers(expected)
    assert run.log == expected
    assert f"{NAME}: {'failed' if status else 'done'}" in run.lines()[-1]


def wait_for_lines(run: Submission) -> None:
    """Waits until more of the log is printed."""
    before = len(run.log)
    wait_for(lambda: len(run.log) > before + 20, lambda: run)


def test_says_soon_that_the_connection_is_back(
    cluster: Cluster, team: Team, steps: Steps
) -> None:
    run = team.start(f"--image={steps.image}", "--workers=1")
    run.wait_for(RUNNING)
    cluster.kill_apiserver()
    run.wait_for(LOST)
    cluster.restart_apiserver()
    back = time.monotonic()
    wait_for(lambda: LOST not in run.lines()[-1], lambda: run, 10)
    assert run.messages[-1][0] < back + 10
    assert "running" in run.lines()[-1]


def test_a_job_that_ends_while_the_api_server_is_away(
    cluster: Cluster, team: Team, steps: Steps
) -> None:
    run = team.start(f"--image={steps.image}", "--workers=1")
    run.wait_for(RUNNING)
    cluster.kill_apiserver()
    steps.finish()
    time.sleep(3)
    cluster.restart_apiserver()
    run.end(0)
    (pod,) = team.pods()
    log = team.kubelet.log(team.name, pod["metadata"]["name"])
    assert run.log == log.splitlines()


def test_an_api_server_that_is_away_is_said_in_one_line(
    cluster: Cluster, team: Team, steps: Steps
) -> None:
    assert team.kubeconfig  # created while the server is there
    flags = (f"--image={steps.image}", "--workers=1", "--detach")
    cluster.kill_apiserver()
    try:
        line = team.submit(*flags, status=2).line()
        assert "no response from the cluster" in line
    finally:
        cluster.restart_apiserver()
    assert not team.left()
