"""Pods of a job, as a cluster reports them."""

from __future__ import annotations

from typing import Any

from tests.launch.k8s.fake_api_server import Object

NAME = "distmnist"


def pod(role: str, name: str, **status: Any) -> Object:
    """Returns a pod of the job."""
    labels = {
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/component": role,
    }
    limits = {"limits": {"memory": "2Gi"}}
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": ""},
        "spec": {"containers": [{"name": role, "image": "r/d:1", "resources": limits}]},
        "status": {"phase": "Pending", **status},
    }


def running(role: str, name: str) -> Object:
    container = {"ready": True, "state": {"running": {}}}
    return pod(role, name, phase="Running", containerStatuses=[container])


def ended(role: str, name: str, code: int, reason: str = "Error") -> Object:
    end = {"terminated": {"exitCode": code, "reason": reason}}
    container = {"ready": False, "state": end}
    phase = "Failed" if code else "Succeeded"
    return pod(role, name, phase=phase, containerStatuses=[container])


def waiting(role: str, name: str, reason: str, message: str) -> Object:
    held = {"state": {"waiting": {"reason": reason, "message": message}}}
    return pod(role, name, containerStatuses=[held])


def warning(about: str, reason: str, message: str) -> Object:
    """Returns an event."""
    return {
        "metadata": {"name": f"{about}.{reason}"},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": involved(about),
    }


def involved(name: str) -> Object:
    """Returns what an event is about: an MPIJob, the Job of its launcher, or a pod."""
    kinds = {NAME: "MPIJob", f"{NAME}-launcher": "Job"}
    return {"kind": kinds.get(name, "Pod"), "name": name}


def unschedulable(name: str, message: str) -> Object:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    return pod("worker", name, conditions=[condition])
