"""Why a job does not run: what it waits for, and what it would wait for in vain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kubernetes.utils.quantity import parse_quantity

from launch.submit.k8s.manifests import Object
from launch.submit.k8s.pods import Pods, held, one_line

# Waiting reasons that a pod does not recover from without a change of the job.
_NEVER = (
    *("CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull"),
    *("InvalidImageName", "RunContainerError"),
)
# A registry that does not answer may answer later.
_PULLS = ("ErrImagePull", "ImagePullBackOff")
_NO_IMAGE = re.compile(
    r"not ?found|does not exist|manifest unknown|no match for platform|"
    r"unauthorized|authentication required|access.*denied|forbidden",
    re.IGNORECASE,
)
_PULL = "Failed to pull"
# While volumes are mounted, a pod itself says no more than ContainerCreating.
_MOUNTS = ("FailedAttachVolume", "FailedMount")
# Events of a job whose pods are refused.
_REFUSED = ("ErrResourceExists", "FailedCreate", "MPIJobFailed", "ValidationError")
# By Pod Security, for example, or by an admission webhook.
_IS_REFUSED = re.compile("is forbidden|denied the request")
_AMOUNTS = r"{}: ((?:[\w./-]+=\w+,?)+)"
# What a job of each kind consists of: how its names go on after that of the job.
_RANDOM = "-[bcdfghjklmnpqrstvwxz2456789]{5}"  # as the API server chooses it
_PARTS = {
    "Job": {"Job": "", "Pod": _RANDOM},
    "MPIJob": {
        "MPIJob": "",
        "Job": "-launcher",
        "Pod": rf"-launcher{_RANDOM}|-worker-\d+",
    },
    "TrainJob": {
        "TrainJob": "",
        "JobSet": "",
        "Job": "-(launcher|node)-0",
        "Pod": rf"-(launcher|node)-0-\d+{_RANDOM}",
    },
}


class Wait(NamedTuple):
    """What a job waits for.

    Attributes:
        reason: on one line.
        outlook: "vain" if waiting does not help, "poor" if that is likely, else "".
    """

    reason: str
    outlook: str = ""


def newest_first(events: Iterable[Object]) -> list[Object]:
    """Returns events sorted by their last occurrence, newest first."""
    return sorted(events, key=_when, reverse=True)


def waits(job: Object, pods: Pods, warnings: Sequence[Object]) -> Wait:
    """Returns what a job that does not run waits for.

    Args:
        job: Job, MPIJob or TrainJob.
        pods: its pods, by name.
        warnings: warning events of the namespace, newest first.

    Returns:
        The most severe of its reasons.
    """
    if any(
        condition["type"] == "Suspended" and condition["status"] == "True"
        for condition in job.get("status", {}).get("conditions", ())
    ):
        return Wait("suspended in its queue")
    held_pods = (_pod_waits(name, pod, warnings) for name, pod in pods.items())
    reasons = [*_refusals(job, pods, warnings), *filter(None, held_pods)]
    for outlook in ("vain", "poor"):
        for reason in reasons:
            if reason.outlook == outlook:
                return reason
    if reasons:
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return Wait(f"{reasons[0].reason}{others}")
    if pods:
        return Wait("starting")
    for event in _about(job, warnings):
        return Wait(f"{event['reason']}: {one_line(event['message'])}")
    if job.get("status"):
        return Wait("no pods yet")
    controller = {"MPIJob": "the MPI Operator", "TrainJob": "Kubeflow Trainer"}
    if job["kind"] in controller:
        return Wait(f"no pods yet: is {controller[job['kind']]} running?")
    return Wait("no pods yet")


def _when(event: Object) -> str:
    """Returns the time of the last occurrence of an event, in ISO 8601."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"))
    return str(next(filter(None, (*times, event.get("eventTime"))), ""))


def _since(event: Object, time: str) -> bool:
    """Returns whether an event occurred at a time or later, to the second."""
    return _when(event)[:19] >= time[:19]


def _about(job: Object, warnings: Iterable[Object]) -> Iterator[Object]:
    """Yields the events of a job and of what it consists of."""
    name, created = job["metadata"]["name"], job["metadata"]["creationTimestamp"]
    parts = _PARTS[job["kind"]]
    for event in warnings:
        about = event["involvedObject"]
        # The names of other jobs may begin with that of this one.
        is_part = about["kind"] in parts and re.fullmatch(
            f"{re.escape(name)}({parts[about['kind']]})", about["name"]
        )
        # An earlier job may have had the same name.
        if is_part and _since(event, created):
            yield event


def _refusals(job: Object, pods: Pods, warnings: Iterable[Object]) -> Iterator[Wait]:
    """Yields why pods of a job are not created."""
    created = max(
        (pod["metadata"]["creationTimestamp"] for pod in pods.values()), default=""
    )
    for event in _about(job, warnings):
        message = one_line(event["message"])
        if event["reason"] not in _REFUSED or not _since(event, created):
            continue
        if event["reason"] == "ErrResourceExists":
            yield Wait("the pods of the earlier job of this name have not ended yet")
        elif "exceeded quota" in message:
            outlook = "vain" if _exceeds(message) else ""
            yield Wait(f"quota of the namespace exceeded: {message}", outlook)
        elif _IS_REFUSED.search(message) or event["reason"] == "ValidationError":
            yield Wait(f"its pods are refused: {message}", "vain")
        return  # the newest is what holds


def _exceeds(message: str) -> bool:
    """Returns whether one pod exceeds a quota that nobody else uses."""
    requested, limited = (
        dict(pair.split("=") for pair in found[1].rstrip(",").split(","))
        if (found := re.search(_AMOUNTS.format(kind), message))
        else {}
        for kind in ("requested", "limited")
    )
    return any(
        parse_quantity(requested[name]) > parse_quantity(limited[name])
        for name in requested.keys() & limited.keys()
    )


def _pod_waits(name: str, pod: Object, warnings: Sequence[Object]) -> Wait | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("reason") == "Unschedulable":
            message = one_line(condition.get("message", ""))
            return Wait(f"{name} Unschedulable: {_unschedulable(message)}")
    waiting = held(pod)
    reason, message = waiting.get("reason"), one_line(waiting.get("message", ""))
    if reason in (None, "PodInitializing"):
        return None
    outlook = "vain" if reason in _NEVER else ""
    mine = [event for event in warnings if event["involvedObject"]["name"] == name]
    if reason == "ContainerCreating":
        for event in mine:
            if event["reason"] in _MOUNTS:
                reason, message = event["reason"], one_line(event["message"])
                outlook = "poor" if "not found" in message else ""
                break
    if reason in _PULLS:
        # That it backs off does not always say what failed before.
        for event in mine:
            if _PULL in event["message"]:
                message = one_line(event["message"])
                break
        image = pod["spec"]["containers"][0]["image"]  # which may hold such words
        is_vain = _NO_IMAGE.search(message.replace(image, ""))
        outlook = "vain" if is_vain else "poor"
    return Wait(f"{name} {reason}" + (f": {message}" if message else ""), outlook)


def _unschedulable(message: str) -> str:
    """Returns why the scheduler finds no node."""
    scarce = sorted(set(re.findall(r"Insufficient ([\w./-]*\w)", message)))
    if scarce:
        return f"not enough {', '.join(scarce)}"
    if "unbound immediate PersistentVolumeClaims" in message:
        return (
            f"{message} The volume claim is not bound: see kubectl describe pvc; "
            "without a default StorageClass, give an existing claim as --pvc"
        )
    return message
