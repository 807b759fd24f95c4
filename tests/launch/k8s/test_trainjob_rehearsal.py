"""A TrainJob's pods: the commands of its runtime, real ssh, MPI and ranks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.options import Options
from tests.launch.k8s import pods as k8s_pods
from tests.launch.k8s import trainer
from tests.launch.k8s.job import EVERY, IMAGE_ENV, LONG, RANKS, Job
from tests.launch.k8s.pods import Pod, Pods
from tests.launch.k8s.schemas import runtime

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

NAME = "rehearsal"
LAUNCHER, NODE = f"{NAME}-launcher-0-0", f"{NAME}-node-0-0"


class TrainJob(Job):
    """A launcher that is a node, too, and another node."""

    def __init__(self, pods: Pods, **options: Any):
        """See `Job`."""
        self.pods = pods
        self.workers = {}
        self.log_dir = pods.data / "logs" / NAME
        self._templates = trainer.templates(make_jobset(**options))
        for template in self._templates.values():
            for volume in template["spec"]["volumes"]:
                if volume["name"] == "own":  # here it is the volume of the claim
                    del volume["configMap"]
                    volume["persistentVolumeClaim"] = {"claimName": "distmnist"}
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


def make_jobset(**options: Any) -> Object:
    """Returns what Trainer makes of a submitted TrainJob."""
    rendered = Options(image="distmnist:cpu", name=NAME, kind="trainjob", **options)
    return trainer.jobset(runtime(), manifests.render(rendered)[-1])


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """The pods of a TrainJob of two nodes; none is started."""
    data, mpi, nothing = (tmp_path / name for name in ("data", "mpi", "nothing"))
    for path in (data, mpi, nothing):
        path.mkdir()
    (mpi / "hostfile").write_text(trainer.hostfile(make_jobset(), slots=1))
    with Pods(NAME, {LAUNCHER: mpi, NODE: nothing}, data) as pods:
        yield pods


@pytest.fixture
def job(pods: Pods) -> TrainJob:
    """A TrainJob that trains for ever."""
    return TrainJob(pods, training=LONG)


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


@pytest.mark.timeout(180)
def test_modules_of_a_config_map_are_found_on_all_nodes(pods: Pods) -> None:
    (pods.data / "own_networks.py").write_text(
        "import keras\n"
        "def linear(config, spec):\n"
        "    layers = [keras.layers.Flatten(), keras.layers.Dense(spec.num_classes)]\n"
        "    return keras.Sequential(layers)\n"
    )
    flags = ("--dataset=fake", "--model=own_networks:linear", "--max_steps=20")
    job = TrainJob(pods, config_map="own", training=flags)
    job.start()
    assert job.launcher.wait(100) == 0, job.launcher.log
    assert job.records("eval")[-1]["size"] == 2
    assert "could not find environment variable" not in job.launcher.log
