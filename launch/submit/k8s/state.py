"""The state of a job, derived from its Kubernetes objects: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launch.submit.k8s.manifests import Object
from launch.submit.k8s.pending import waits
from launch.submit.k8s.pods import (
    Pods,
    container,
    has_ended,
    has_started,
    is_ready,
    is_worker,
    one_line,
    terminated,
    with_log,
)

TIMEOUT_STATUS = 124  # exit status, as of timeout(1)


def ended(job: Object) -> Object | None:
    """Returns the condition that a job ended with; None while it has not ended."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in (
            *("Succeeded", "Complete"),
            "Failed",
        ):
            return dict(condition)
    return None


def runs(pods: Pods) -> bool:
    """Returns whether the newest launcher, or single process, runs."""
    launchers = with_log(pods)
    return (
        bool(launchers) and has_started(launchers[-1]) and not has_ended(launchers[-1])
    )


def summarize(
    job: Object, pods: Pods, warnings: Sequence[Object] = ()
) -> dict[str, Any]:
    """Returns the state of a job, as JSON.

    Args:
        job: Job, MPIJob or TrainJob.
        pods: its pods, by name.
        warnings: warning events of the namespace, newest first.

    Returns:
        `state` is pending, running, ended (to be started again), done or failed;
        `reason` why it is pending or failed; `status` the exit status, once it ended.
    """
    launchers = with_log(pods)
    state, reason, status = "pending", None, None
    if condition := ended(job):
        state, status = "done", 0
        if condition["type"] == "Failed":
            state, status = "failed", exit_status(pods) or 1
            reason = failure(pods)[1] or condition.get("message", "")
            if condition.get("reason") == "DeadlineExceeded":
                status, reason = TIMEOUT_STATUS, "timed out"
    elif runs(pods):
        state = "running"
    elif launchers and has_ended(launchers[-1]):
        state = "ended"
    else:
        reason = waits(job, pods, warnings).reason
    return {
        "name": job["metadata"]["name"],
        "kind": job["kind"],
        "state": state,
        "reason": reason,
        "status": status,
        "workers": workers(job),
        "ready": sum(is_ready(pod) for pod in pods.values() if _trains(job, pod)),
    }


def describe(job: Object, pods: Pods, warnings: Sequence[Object] = ()) -> str:
    """Returns the state of a job on one line; see `summarize`."""
    found = summarize(job, pods, warnings)
    text = str(found["state"])
    if found["reason"] is not None:
        text += f": {found['reason']}"
    if found["status"] is None and found["workers"]:
        text += f", workers {found['ready']}/{found['workers']} ready"
    return text


def workers(job: Object) -> int:
    """Returns the number of a job's workers; 0 if it is a single process."""
    if job["kind"] == "TrainJob":  # or as many as its runtime says
        return int(job["spec"].get("trainer", {}).get("numNodes", 0))
    replicas = job["spec"].get("mpiReplicaSpecs", {})
    return int(replicas["Worker"].get("replicas", 1)) if "Worker" in replicas else 0


def _trains(job: Object, pod: Object) -> bool:
    """Returns whether a pod has ranks: the launcher of a TrainJob does."""
    return is_worker(pod) or job["kind"] == "TrainJob"


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
            about = one_line(status.get("message", ""))
            return pod, f"{name} {status['reason']}: {about}"
        for state in ("state", "lastState"):
            end = container(pod).get(state, {}).get("terminated") or {}
            if end.get("reason") == "OOMKilled":
                limit = pod["spec"]["containers"][0].get("resources", {})
                memory = limit.get("limits", {}).get("memory", "none")
                return pod, f"{name} OOMKilled: exceeded its memory limit, {memory}"
    for pod in reversed(with_log(pods)):
        end = terminated(pod)
        if end.get("exitCode"):
            name = pod["metadata"]["name"]
            return pod, f"{name} {end.get('reason', 'Error')}: status {end['exitCode']}"
    return None, ""


def exit_status(pods: Pods) -> int | None:
    """Returns the exit status of the last launcher that ended; None if none has."""
    for pod in reversed(with_log(pods)):
        end = terminated(pod)
        if "exitCode" in end:
            return int(end["exitCode"])
    return None
