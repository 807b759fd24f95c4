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

# Directory in k8s/ of each kind of job.
_BASES = {"job": "single", "mpijob": "base", "trainjob": "trainjob"}
_OWN = "/opt/own"  # where --config_map is mounted; PYTHONPATH in k8s/


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
        options: Command-line options. Of the kinds of object that can run the job, the
            first is rendered.

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
        K8S / _BASES[options.kinds[0]],
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
    if options.timeout:
        policy = spec["runPolicy"] if job["kind"] == "MPIJob" else spec
        policy["activeDeadlineSeconds"] = options.timeout
    for pod in pods:
        _fill_in_pod(pod["spec"], options)

    # A TrainJob says of all nodes what the others say in each container.
    containers = [pod["spec"]["containers"][0] for pod in pods]
    trainers = [spec["trainer"]] if job["kind"] == "TrainJob" else containers
    for trainer in trainers:
        trainer["image"] = options.image
    if job["kind"] == "TrainJob":
        spec["trainer"]["numNodes"] = options.workers
        spec["trainer"]["numProcPerNode"] = options.slots
    elif job["kind"] == "MPIJob":
        spec["slotsPerWorker"] = options.slots
        spec["mpiReplicaSpecs"]["Worker"]["replicas"] = options.workers
    _fill_in_resources(_resources(trainers[-1]), options)
    _fill_in_command(_command(trainers[0]), options)


def _fill_in_pod(pod: Object, options: Options) -> None:
    """Fills in what is the same in all pods of a job: their volumes and their nodes."""
    for volume in pod["volumes"]:
        if options.pvc and "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] = options.pvc
    if options.config_map:
        pod["volumes"].append(
            {"name": "own", "configMap": {"name": options.config_map}}
        )
        pod["containers"][0].setdefault("volumeMounts", []).append(
            {"name": "own", "mountPath": _OWN, "readOnly": True}
        )
    if options.node_selector:
        labels = (label.split("=", 1) for label in options.node_selector)
        pod["nodeSelector"] = dict(labels)
    if options.tolerations:
        tolerations = pod.setdefault("tolerations", [])
        tolerations += map(_toleration, options.tolerations)
    for constraint in pod.get("topologySpreadConstraints", ()):
        constraint["minDomains"] = options.workers
    if options.priority_class:
        pod["priorityClassName"] = options.priority_class


def _toleration(text: str) -> Object:
    """Returns the toleration of KEY[=VALUE][:EFFECT]."""
    text, _, effect = text.partition(":")
    key, equal, value = text.partition("=")
    toleration = {"key": key, "operator": "Exists"}
    if equal:
        toleration = {"key": key, "operator": "Equal", "value": value}
    return {**toleration, "effect": effect} if effect else toleration


def _fill_in_resources(resources: Object, options: Options) -> None:
    """Fills in the resources of a worker."""
    limits, requests = resources["limits"], resources["requests"]
    if options.gpus_per_worker:
        limits["nvidia.com/gpu"] = options.gpus_per_worker
    if options.cpus_per_worker:
        requests["cpu"] = options.cpus_per_worker
    for name, value in (
        ("memory", options.memory_per_worker),
        ("ephemeral-storage", options.disk_per_worker),
    ):
        if value:
            requests[name] = limits[name] = value


def _fill_in_command(command: list[str], options: Options) -> None:
    """Fills in a command that ends with the flags of distmnist.train."""
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
    # Kubernetes replaces $(NAME), and $$ by $.
    command += [word.replace("$", "$$") for word in options.training]


def _resources(trainer: Object) -> Object:
    """Returns the resources of a container, or of the trainer of a TrainJob."""
    resources: Object = trainer.get("resourcesPerNode") or trainer["resources"]
    return resources


def _command(trainer: Object) -> list[str]:
    """Returns the words that end with the flags of distmnist.train."""
    words: list[str] = trainer.get("args") or trainer["command"]
    return words


def templates(job: Object) -> list[Object]:
    """Returns the pod templates of a job, that with the training log first.

    Those of a TrainJob hold only what it adds to those of its runtime.
    """
    spec = job["spec"]
    if job["kind"] == "MPIJob":
        roles = ("Launcher", "Worker")
        replicas = spec["mpiReplicaSpecs"]
        return [replicas[role]["template"] for role in roles if role in replicas]
    if job["kind"] == "TrainJob":
        patch = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
        return [
            each["template"]["spec"]["template"] for each in patch["replicatedJobs"]
        ]
    return [spec["template"]]


def training_flags(job: Object) -> list[str]:
    """Returns the flags of distmnist.train of a job."""
    if job["kind"] == "TrainJob":
        flags: list[str] = job["spec"].get("trainer", {}).get("args", [])
        return flags
    command: list[str] = templates(job)[0]["spec"]["containers"][0].get("command", [])
    train = "distmnist.train"
    return command[command.index(train) + 1 :] if train in command else []


def to_yaml(objects: Iterable[Object]) -> str:
    """Returns objects as a YAML stream for kubectl."""
    return yaml.safe_dump_all(copy.deepcopy(list(objects)), sort_keys=False)
