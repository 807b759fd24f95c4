"""The MPI Operator on a real control plane, and real ranks in emulated pods."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.k8s import pods as k8s_pods
from tests.launch.k8s.cluster import Object, wait_for
from tests.launch.k8s.kubelet import Kubelet
from tests.launch.k8s.sandbox import Emulated
from tests.launch.k8s.team import Submission, Team

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

IMAGE = "registry.example/distmnist:cpu"
TWO = (f"--image={IMAGE}", "--workers=2", "--cpus_per_worker=1")
EVERY = 10
LONG = (
    "--dataset=fake",
    "--max_steps=1000000",
    "--checkpoint_every=0",
    "--eval_every=0",
)
# How often each event is tried.
TIMES = int(os.environ.get("DISTMNIST_TEST_TIMES", "1"))


@pytest.fixture(scope="module")
def image(
    kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulated]:
    """The image of k8s/Dockerfile, on the node of the cluster."""
    with Emulated(tmp_path_factory.mktemp("image")) as image:
        kubelet.images[IMAGE] = image
        yield image
        del kubelet.images[IMAGE]


@pytest.fixture
def team(kubelet: Kubelet, image: Emulated) -> Iterator[Team]:
    """A namespace, whose pods end before the image goes away."""
    with Team(kubelet) as team:
        yield team


def run_directory(team: Team, name: str) -> Path:
    """Returns the run directory of a job, on the volume."""
    claims = f"/api/v1/namespaces/{team.name}/persistentvolumeclaims"
    claim = team.admin.ask("GET", f"{claims}/distmnist")
    path = f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}"
    volume = Path(team.admin.ask("GET", path)["spec"]["hostPath"]["path"])
    return volume / "logs" / name


def records(directory: Path, kind: str) -> list[Object]:
    """Returns the metrics of a kind."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


def checkpoint(directory: Path) -> int:
    """Returns the step of the newest checkpoint; -1 without one."""
    found = directory.glob("model.ckpt-*.index")
    return max((int(path.stem.rpartition("-")[2]) for path in found), default=-1)


def ranks(name: str) -> str:
    """Returns the processes of a job's training on this machine."""
    listed = ["pgrep", "-af", f"[d]istmnist.train.*--log_dir=/data/logs/{name}"]
    return subprocess.run(listed, capture_output=True, text=True, timeout=20).stdout


def wait_for_step(run: Submission, step: int, team: Team) -> int:
    """Waits until a job has logged more steps; returns the last of them."""

    def newest() -> int:
        assert run.running(), f"{run}\n{team.show()}"
        found = re.findall(r"^Step (\d+):", "\n".join(run.log), re.MULTILINE)
        return int(found[-1]) if found else -1

    wait_for(lambda: newest() > step, lambda: f"{run}\n{team.show()}", 240)
    return newest()


@pytest.mark.timeout(400)
def test_an_mpijob_trains_to_the_end(team: Team) -> None:
    training = ("--", "--dataset=digits", "--max_steps=60", "--log_every=20")
    run = team.submit(*TWO, "--name=whole", *training, seconds=300)
    assert "Step 60: loss" in "\n".join(run.log)
    assert "whole: done, step 60 of 60" in run.lines()[-1]
    directory = run_directory(team, "whole")
    assert records(directory, "start")[0]["size"] == 2
    assert directory.stat().st_uid == 1000
    assert not ranks("whole")
    # The operator deletes workers that still run, when the launcher has ended.
    wait_for(lambda: not team.pods("worker"), team.show, 60)
    team.submit("--delete=whole", seconds=180)
    team.assert_only("PersistentVolumeClaim/distmnist")


@pytest.mark.timeout(400)
def test_a_plain_job_trains_to_the_end(team: Team) -> None:
    training = ("--", "--dataset=digits", "--max_steps=60", "--log_every=20")
    flags = (f"--image={IMAGE}", "--workers=1", "--name=single")
    run = team.submit(*flags, *training, seconds=240)
    assert "single: done, step 60 of 60" in run.lines()[-1]
    assert checkpoint(run_directory(team, "single")) == 60


@pytest.mark.timeout(300 + 300 * TIMES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_deleted_job_saves_its_last_step_and_continues(
    team: Team, workers: int
) -> None:
    name = f"deleted-{workers}"
    training = (*LONG, f"--log_every={EVERY}", f"--steps_per_call={EVERY}")
    flags = (*TWO, f"--workers={workers}", f"--name={name}", "--", *training)
    step, lost = -1, []
    for time_ in range(TIMES):
        run = team.start(*flags)
        step = wait_for_step(run, step + 3 * EVERY, team)
        if time_ % 2:  # as kubectl delete
            group = "kubeflow.org/v2beta1" if workers > 1 else "batch/v1"
            plural = "mpijobs" if workers > 1 else "jobs"
            path = f"/apis/{group}/namespaces/{team.name}/{plural}/{name}"
            team.admin.ask("DELETE", path, {"propagationPolicy": "Background"})
        else:
            team.submit(f"--delete={name}", seconds=180)
        run.end(1)
        team.assert_only("PersistentVolumeClaim/distmnist")
        assert not ranks(name)
        directory = run_directory(team, name)
        log = team.kubelet.logs(team.name)
        last = records(directory, "train")[-1]["step"]
        if checkpoint(directory) < last or last < step:
            lost.append((time_, step, last, checkpoint(directory), log[-3000:]))
        step = max(0, checkpoint(directory))
    assert not lost, "\n".join(map(str, (f"{len(lost)} of {TIMES}", *lost)))
    run = team.start(*flags)
    wait_for_step(run, step + 3 * EVERY, team)
    team.submit(f"--delete={name}", seconds=180)
    team.assert_only("PersistentVolumeClaim/distmnist")
    steps = [line["step"] for line in records(run_directory(team, name), "train")]
    assert steps == list(range(EVERY, steps[-1] + 1, EVERY))
