"""TrainJobs of Kubeflow Trainer, with the runtime of k8s/trainer."""

from __future__ import annotations

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.options import Options
from tests.launch.k8s import trainer
from tests.launch.k8s.schemas import runtime
from tests.launching import run


def launcher_and_worker(kind: str) -> tuple[Object, Object]:
    job = manifests.render(Options(image="distmnist:cpu", kind=kind))[-1]
    if kind == "trainjob":
        pods = trainer.templates(trainer.jobset(runtime(), job))
        return pods["launcher"], pods["node"]
    launcher, worker = manifests.templates(job)
    return launcher, worker


def test_pods_of_a_trainjob_are_like_those_of_an_mpijob() -> None:
    of_mpijob, of_trainjob = map(launcher_and_worker, ("mpijob", "trainjob"))
    for mine, theirs in zip(of_mpijob, of_trainjob, strict=True):
        assert mine["metadata"] == theirs["metadata"]
        for name in (
            "automountServiceAccountToken",
            "securityContext",
            "terminationGracePeriodSeconds",
        ):
            assert mine["spec"][name] == theirs["spec"][name]
        (mine,), (theirs,) = (pod["spec"]["containers"] for pod in (mine, theirs))
        for name in (
            "image",
            "ports",
            "lifecycle",
            "readinessProbe",
            "securityContext",
        ):
            assert mine.get(name) == theirs.get(name), name
        assert (mine.get("env") or []) == (theirs.get("env") or [])[:1]
    launcher, node = (pod["spec"]["containers"][0] for pod in of_trainjob)
    mpirun = of_mpijob[0]["spec"]["containers"][0]["command"]
    assert launcher["command"] + launcher["args"] == mpirun
    assert launcher["resources"] == node["resources"]
    assert launcher["volumeMounts"][:4] == node["volumeMounts"][:4]
    # Their args are those of the launcher.
    said = run(["sh", "-c", "exec echo sshd", *node["args"]]).stdout
    assert node["command"][:2] == ["sh", "-c"]
    assert said == "sshd\n"


def test_trainer_starts_as_many_nodes_as_workers_are_wanted() -> None:
    for workers in (2, 3, 9):
        options = Options(
            image="d:1", kind="trainjob", workers=workers, gpus_per_worker=2, name="a"
        )
        jobset = trainer.jobset(runtime(), manifests.render(options)[-1])
        lines = trainer.hostfile(jobset, options.slots).splitlines()
        assert lines[0] == "a-node-0-0.a slots=2"
        assert lines[-1] == "a-launcher-0-0.a slots=2"
        assert len(lines) == workers
        (launcher,) = (
            job for job in jobset["spec"]["replicatedJobs"] if job["name"] == "launcher"
        )
        assert launcher["template"]["spec"]["parallelism"] == 1
        assert launcher["dependsOn"] == [{"name": "node", "status": "Ready"}]
