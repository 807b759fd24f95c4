"""Derives the state of a job from its Kubernetes objects: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from launch.submit.k8s.manifests import COMPONENT, INSTANCE, Object

Pods = Mapping[str, Object]

# Waiting reasons that a pod does not recover from without a change.
_UNRECOVERABLE = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
)


def selector(job: str) -> str:
    """Returns the label selector of the pods of a job."""
    return f"{INSTANCE}={job},app.kubernetes.io/name=distmnist"


def ended(job: Object) -> Object | None:
    """Returns the condition that a job ended with; None while it has not ended."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in (
            *("Succeeded", "Complete"),
            "Failed",
        ):
            return dict(condition)
    return None


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


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def has_started(pod: Object) -> bool:
    """Returns whether the container of a pod has started, so that it has a log."""
    return bool({"running", "terminated"} & container(pod).get("state", {}).keys())


def has_ended(pod: Object) -> bool:
    """Returns whether the container of a pod has ended, so that its log is complete."""
    return _phase(pod) in ("Succeeded", "Failed")


def ready(pods: Pods) -> int:
    """Returns the number of ready workers."""
    return sum(
        bool(container(pod).get("ready")) for pod in pods.values() if is_worker(pod)
    )


def newest_first(events: Iterable[Object]) -> list[Object]:
    """Returns events sorted by their last occurrence, newest first."""

    def when(event: Object) -> str:
        return event.get("lastTimestamp") or event.get("eventTime") or ""

    return sorted(events, key=when, reverse=True)


def waiting(job: Object, pods: Pods, warnings: Iterable[Object]) -> str:
    """Returns what a job that is not running waits for.

    Args:
        job: Job or MPIJob.
        pods: Pods of the job, by name.
        warnings: Warning events of the namespace, newest first.

    Returns:
        A one-line description.
    """
    if any(
        condition["type"] == "Suspended" and condition["status"] == "True"
        for condition in job.get("status", {}).get("conditions", ())
    ):
        return "suspended in its queue"
    reasons = [reason for pod in pods.values() if (reason := _pod_waits(pod))]
    if reasons:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"{reasons[0]}{others}"
    if not pods:
        name = job["metadata"]["name"]
        for event in warnings:
            about = event["involvedObject"]["name"]
            if about == name or about.startswith(f"{name}-"):
                return f"{event['reason']}: {_one_line(event['message'])}"
        return "no pods yet"
    return "starting"


def _pod_waits(pod: Object) -> str:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "Unschedulable":
            message = _one_line(condition.get("message", ""))
            scarce = sorted(set(re.findall(r"Insufficient ([\w./-]*\w)", message)))
            lacks = f"not enough {', '.join(scarce)}" if scarce else message
            return f"{name} Unschedulable: {lacks}"
    held = container(pod).get("state", {}).get("waiting")
    if held and held.get("reason") not in (None, "PodInitializing"):
        message = _one_line(held.get("message", ""))
        return f"{name} {held['reason']}" + (f": {message}" if message else "")
    return ""


def unrecoverable(pods: Pods) -> str:
    """Returns why a pod cannot start; "" if no pod is in an unrecoverable state."""
    for pod in pods.values():
        held = container(pod).get("state", {}).get("waiting") or {}
        if held.get("reason") in _UNRECOVERABLE:
            return _pod_waits(pod)
    return ""


def describe(job: Object, pods: Pods, warnings: Iterable[Object] = ()) -> str:
    """Returns the state of a job on one line.

    Args:
        job: Job or MPIJob.
        pods: its pods, by name.
        warnings: warning events of the namespace, newest first.
    """
    if condition := ended(job):
        if condition["type"] != "Failed":
            return "done"
        return f"failed: {failure(pods)[1] or condition.get('message', '')}"
    launchers = with_log(pods)
    if launchers and has_ended(launchers[-1]):
        text = "ended"
    elif launchers and has_started(launchers[-1]):
        text = "running"
    else:
        text = f"pending: {waiting(job, pods, warnings)}"
    total = workers(job)
    return f"{text}, workers {ready(pods)}/{total} ready" if total else text


def workers(job: Object) -> int:
    """Returns the number of a job's workers; 0 if it is a single process."""
    replicas = job["spec"].get("mpiReplicaSpecs", {})
    return int(replicas["Worker"]["replicas"]) if "Worker" in replicas else 0


def failure(pods: Pods) -> tuple[Object | None, str]:
    """Finds the cause of a failure.

    Workers are examined first, because a launcher fails when a worker is killed.

    Args:
        pods: Pods of the job, by name.

    Returns:
        The pod that failed and a one-line reason; (None, "") if no pod failed.
    """
    candidates = sorted(pods.values(), key=lambda pod: not is_worker(pod))
    for pod in candidates:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        if status.get("reason"):  # for example Evicted
            about = _one_line(status.get("message", ""))
            return pod, f"{name} {status['reason']}: {about}"
        for state in ("state", "lastState"):
            end = container(pod).get(state, {}).get("terminated") or {}
            if end.get("reason") == "OOMKilled":
                limit = pod["spec"]["containers"][0].get("resources", {})
                memory = limit.get("limits", {}).get("memory", "none")
                return pod, f"{name} OOMKilled: exceeded its memory limit, {memory}"
    for pod in reversed(with_log(pods)):
        end = _terminated(pod)
        if end.get("exitCode"):
            name = pod["metadata"]["name"]
            return pod, f"{name} {end.get('reason', 'Error')}: status {end['exitCode']}"
    return None, ""


def exit_status(pods: Pods) -> int | None:
    """Returns the exit status of the last launcher that ended; None if none has."""
    for pod in reversed(with_log(pods)):
        end = _terminated(pod)
        if "exitCode" in end:
            return int(end["exitCode"])
    return None


def _terminated(pod: Object) -> dict[str, Any]:
    return dict(container(pod).get("state", {}).get("terminated") or {})


def _one_line(text: str) -> str:
    return " ".join(text.split())
