"""What the pods of a job say of themselves: pure functions of their objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.submit.k8s.manifests import COMPONENT, INSTANCE, Object

Pods = Mapping[str, Object]

_JOBSET = "jobset.sigs.k8s.io/jobset-name"  # label by JobSet, which runs a TrainJob


def selector(job: Object) -> str:
    """Returns the label selector of the pods of a job, and of earlier ones so named."""
    name = job["metadata"]["name"]
    if job["kind"] == "TrainJob":
        return f"{_JOBSET}={name}"
    return f"{INSTANCE}={name},app.kubernetes.io/name=distmnist"


def is_worker(pod: Object) -> bool:
    """Returns whether a pod is a worker, whose log is not the training log."""
    return bool(pod["metadata"]["labels"].get(COMPONENT) == "worker")


def with_log(pods: Pods) -> list[Object]:
    """Returns the pods that have the training log, oldest first."""
    launchers = [pod for pod in pods.values() if not is_worker(pod)]
    return sorted(launchers, key=lambda pod: pod["metadata"]["creationTimestamp"])


def container(pod: Object) -> Object:
    """Returns the status of the container of a pod; {} if there is none yet."""
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return dict(statuses[0])


def held(pod: Object) -> dict[str, Any]:
    """Returns why the container of a pod waits; {} if it does not."""
    return dict(container(pod).get("state", {}).get("waiting") or {})


def terminated(pod: Object) -> dict[str, Any]:
    """Returns how the container of a pod ended; {} while it has not."""
    return dict(container(pod).get("state", {}).get("terminated") or {})


def has_started(pod: Object) -> bool:
    """Returns whether the container of a pod has started, so that it has a log."""
    state = container(pod).get("state", {})
    # So ends a container that did not exist yet when its pod was stopped.
    never = terminated(pod).get("reason") == "ContainerStatusUnknown"
    return bool({"running", "terminated"} & state.keys()) and not never


def has_ended(pod: Object) -> bool:
    """Returns whether the container of a pod has ended, so that its log is complete."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ready(pod: Object) -> bool:
    """Returns whether the container of a pod is ready."""
    return bool(container(pod).get("ready"))


def one_line(text: str) -> str:
    """Returns a text without line ends."""
    return " ".join(text.split())
