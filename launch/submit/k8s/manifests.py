"""Renders the objects of a job: the manifests in k8s/ with the options filled in.

`build` implements the part of kustomize that k8s/ uses, without kubectl. A test
compares the two.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

from launch.submit.k8s.options import Options

K8S = Path(__file__).resolve().parents[3] / "k8s"

Object = dict[str, Any]

INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"


def build(*directories: Path) -> list[Object]:
    """Builds directories that have a kustomization.yaml.

    Args:
        directories: Kustomizations, followed by the components that patch all of them.

    Returns:
        The objects.
    """
    objects: list[Object] = []
    for directory in directories:
        kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
        for name in kustomization.get("resources", ()):
            path = directory / name
            objects += build(path) if path.is_dir() else _read(path)
        for name in kustomization.get("components", ()):
            _patch(objects, directory / name)
        if kustomization["kind"] == "Component":
            _patch(objects, directory)
    return objects


def _read(path: Path) -> list[Object]:
    # YAML aliases load as one shared object; each occurrence must be editable alone.
    return [_unshared(thing) for thing in yaml.safe_load_all(path.read_text())]


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _patch(objects: list[Object], component: Path) -> None:
    kustomization = yaml.safe_load((component / "kustomization.yaml").read_text())
    for patch in kustomization["patches"]:
        operations = jsonpatch.JsonPatch(yaml.safe_load(patch["patch"]))
        for thing in objects:
            if thing["kind"] == patch["target"]["kind"]:
                operations.apply(thing, in_place=True)


def render(options: Options) -> list[Object]:
    """Renders the objects to create.

    Args:
        options: Command-line options.

    Returns:
        The job, preceded by the PersistentVolumeClaim unless `--pvc` names another one.
    """
    components = {
        "gpu": options.gpus_per_worker > 0,
        "elastic": options.elastic,
        "spread": options.spread,
    }
    claim, job = build(
        K8S / "volume",
        K8S / ("single" if options.single else "base"),
        *(K8S / "components" / name for name, wanted in components.items() if wanted),
    )
    _fill_in(job, options)
    objects = [job] if options.pvc else [claim, job]
    if options.namespace:
        for thing in objects:
            thing["metadata"]["namespace"] = options.namespace
    return objects


def _fill_in(job: Object, options: Options) -> None:
    """Fills the options into a job."""
    spec, pods = job["spec"], list(templates(job))
    metadata = [job["metadata"], *(pod["metadata"] for pod in pods)]
    job["metadata"]["name"] = options.name
    for data in metadata:
        data["labels"][INSTANCE] = options.name
    if options.queue:
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = options.queue
    policy = spec if options.single else spec["runPolicy"]
    if options.timeout:
        policy["activeDeadlineSeconds"] = options.timeout
    for pod in pods:
        pod["spec"]["containers"][0]["image"] = options.image
        for volume in pod["spec"].get("volumes", ()):
            if options.pvc and "persistentVolumeClaim" in volume:
                volume["persistentVolumeClaim"]["claimName"] = options.pvc
    resources = pods[-1]["spec"]["containers"][0]["resources"]
    if options.gpus_per_worker:
        resources["limits"]["nvidia.com/gpu"] = options.gpus_per_worker
    if options.cpus_per_worker:
        resources["requests"]["cpu"] = options.cpus_per_worker
    if options.memory_per_worker:
        resources["requests"]["memory"] = options.memory_per_worker
        resources["limits"]["memory"] = options.memory_per_worker
    if not options.single:
        spec["slotsPerWorker"] = options.slots
        spec["mpiReplicaSpecs"]["Worker"]["replicas"] = options.workers
    command = pods[0]["spec"]["containers"][0]["command"]
    if options.elastic:
        for word, value in (
            ("--at-least", options.min_workers),
            ("-np", options.min_workers * options.slots),
            ("--min-np", options.min_workers * options.slots),
            ("--max-np", options.workers * options.slots),
            ("--slots-per-host", options.slots),
        ):
            command[command.index(word) + 1] = str(value)
    log_dir = next(i for i, word in enumerate(command) if word.startswith("--log_dir="))
    command[log_dir] = f"--log_dir=/data/logs/{options.name}"
    command += options.training


def templates(job: Object) -> Iterable[Object]:
    """Returns the pod templates of a job, that with the training log first."""
    if job["kind"] == "Job":
        return [job["spec"]["template"]]
    roles = job["spec"]["mpiReplicaSpecs"]
    return [roles[role]["template"] for role in ("Launcher", "Worker")]


def training_flags(job: Object) -> list[str]:
    """Returns the flags of distmnist.train in the command of a job."""
    command = next(iter(templates(job)))["spec"]["containers"][0].get("command", [])
    train = "distmnist.train"
    return command[command.index(train) + 1 :] if train in command else []


def to_yaml(objects: Iterable[Object]) -> str:
    """Returns objects as a YAML stream for kubectl."""
    return yaml.safe_dump_all(copy.deepcopy(list(objects)), sort_keys=False)
