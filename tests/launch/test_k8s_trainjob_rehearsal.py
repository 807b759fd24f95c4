"""A TrainJob's pods: the commands of its runtime, real ssh, MPI and ranks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.options import Options
from tests.launch import k8s_pods, trainer
from tests.launch.k8s_job import EVERY, IMAGE_ENV, LONG, RANKS, Job
from tests.launch.k8s_pods import Pod, Pods
from tests.launch.k8s_schemas import runtime

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

NAME = "rehearsal"
LAUNCHER, NODE = f"{NAME}-launcher-0-0", f"{NAME}-node-0-0"


class TrainJob(Job):
    """A launcher that is a node, too, and another node."""

    def __init__(self, pods: Pods, jobset: Object):
        """See `Job`."""
        self.pods = pods
        self.workers = {}
        self.log_dir = pods.data / "logs" / NAME
        self._templates = trainer.templates(jobset)
        # The names that JobSet gives them, as the DNS has them.
        self._names = pods.names.replace(f".{NAME}-worker.default.svc", f".{NAME}")

    def start(self) -> None:
        """Starts the launcher, and the node if it does not run."""
        if NODE not in self.workers or self.workers[NODE].poll() is not None:
            self.workers[NODE] = self._start(NODE, "node")
        self.launcher = self._start(LAUNCHER, "launcher")

    def _start(self, name: str, role: str) -> Pod:
        template = self._templates[role]
        (container,) = template["spec"]["containers"]
        env = {item["name"]: item["value"] for item in container.get("env", ())}
        command = container["command"] + container["args"]
        return self.pods.start(
            name, template, {**IMAGE_ENV, **env}, command, self._names
        )


@pytest.fixture
def job(tmp_path: Path) -> Iterator[TrainJob]:
    """A TrainJob of two nodes; none of its pods is started."""
    data, mpi, nothing = (tmp_path / name for name in ("data", "mpi", "nothing"))
    for path in (data, mpi, nothing):
        path.mkdir()
    options = Options(image="distmnist:cpu", name=NAME, kind="trainjob", training=LONG)
    jobset = trainer.jobset(runtime(), manifests.render(options)[-1])
    (mpi / "hostfile").write_text(trainer.hostfile(jobset, slots=1))
    with Pods(NAME, {LAUNCHER: mpi, NODE: nothing}, data) as pods:
        yield TrainJob(pods, jobset)


@pytest.mark.timeout(300)
def test_a_deleted_trainjob_writes_a_checkpoint_and_continues(job: TrainJob) -> None:
    for attempt in range(2):
        job.start()
        job.train()
        assert job.records("start")[-1]["size"] == 2, job.launcher.log
        # All pods are stopped at once: ranks get signals by two ways.
        node = threading.Thread(target=job.workers[NODE].stop)
        node.start()
        job.launcher.stop()
        node.join(40)
        assert "stopped by SIGTERM at step" in job.launcher.log
        assert job.reached() <= job.checkpoint() < job.reached() + EVERY
        resumed = "Resuming from checkpoint" in job.launcher.log
        assert resumed == bool(attempt), job.launcher.log
    job.check_contiguous()


@pytest.mark.timeout(300)
def test_a_lost_node_ends_the_launcher_and_the_next_one_resumes(job: TrainJob) -> None:
    job.start()
    job.train()
    job.workers[NODE].kill()
    assert job.launcher.wait(60) not in (0, 2), job.launcher.log
    job.start()
    job.train()
    assert job.workers[NODE].exec(RANKS).stdout.count("environ") >= 1
    assert job.launcher.stop() == 143
    job.check_contiguous()
