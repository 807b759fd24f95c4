"""A small scheduler and volume provisioner for one node."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from tests.launch.k8s.cluster import Client, Object


def warn(client: Client, thing: Object, reason: str, message: str) -> None:
    """Creates a warning event about an object, as the components of a cluster do."""
    metadata = thing["metadata"]
    time = datetime.datetime.now(datetime.timezone.utc)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {name: metadata[name] for name in ("name", "namespace", "uid")}
    name = f"{metadata['name']}.{uuid.uuid4().hex[:16]}"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
    }
    try:
        client.create(event)
    except ApiException as error:
        if error.status not in (403, 404):  # the namespace is being deleted
            raise


class Scheduler:
    """Binds pods to a node where they fit, and says why those do not that remain."""

    def __init__(self, client: Client, node: str, capacity: dict[str, str]):
        """Does nothing yet.

        Args:
            client: administrator.
            node: its name.
            capacity: quantities of its resources.
        """
        self._client = client
        self._node = node
        self._capacity = {key: parse_quantity(text) for key, text in capacity.items()}
        self._labels = {"kubernetes.io/hostname": node, "kubernetes.io/os": "linux"}
        self._told: dict[str, str] = {}

    def schedule(self, pod: Object, pods: Iterable[Object]) -> None:
        """Binds a pod, or reports why it cannot be.

        Args:
            pod: that is not bound.
            pods: all pods.
        """
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        problem = self._problem(pod, pods)
        if not problem:
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": metadata["name"]},
                "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
            }
            self._client.ask("POST", f"{path}/binding", binding)
        elif self._told.get(metadata["uid"]) != problem:
            self._told[metadata["uid"]] = problem
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": problem,
            }
            status = {"status": {"conditions": [condition]}}
            kind = "strategic-merge-patch+json"
            self._client.ask("PATCH", f"{path}/status", status, kind)
            warn(self._client, pod, "FailedScheduling", problem)

    def _problem(self, pod: Object, pods: Iterable[Object]) -> str:
        """Returns why a pod does not fit, in the words of kube-scheduler."""
        none = "0/1 nodes are available:"
        no_help = "preemption: 0/1 nodes are available: 1 Preemption is not helpful"
        for volume in pod["spec"].get("volumes", ()):
            if "persistentVolumeClaim" not in volume:
                continue
            name = volume["persistentVolumeClaim"]["claimName"]
            namespace = pod["metadata"]["namespace"]
            claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
            claim = self._client.find(f"{claims}/{name}")
            if claim is None:
                return f'{none} persistentvolumeclaim "{name}" not found. {no_help}.'
            if claim["status"].get("phase") != "Bound":
                unbound = "pod has unbound immediate PersistentVolumeClaims"
                return f"{none} {unbound}. {no_help} for scheduling."
        if not pod["spec"].get("nodeSelector", {}).items() <= self._labels.items():
            return f"{none} 1 node(s) didn't match Pod's node affinity/selector."
        used = dict.fromkeys(self._capacity, Decimal(0))
        for other in pods:
            if other["spec"].get("nodeName") and not _ended(other):
                for resource, amount in _requests(other).items():
                    used[resource] = used.get(resource, Decimal(0)) + amount
        for resource, amount in _requests(pod).items():
            free = self._capacity.get(resource, Decimal(0)) - used.get(resource, 0)
            if amount > free:
                return (
                    f"{none} 1 Insufficient {resource}. {no_help} for scheduling, "
                    "1 No preemption victims found for incoming pod."
                )
        return ""


def _ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _requests(pod: Object) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        requests = container.get("resources", {}).get("requests", {})
        for resource, text in requests.items():
            total[resource] = total.get(resource, Decimal(0)) + parse_quantity(text)
    return total


def provision(client: Client, directory: Path) -> None:
    """Makes a volume for each claim that has none and names no storage class.

    Args:
        client: administrator.
        directory: of the volumes.
    """
    for claim in client.items("/api/v1/persistentvolumeclaims"):
        metadata, spec = claim["metadata"], claim["spec"]
        if spec.get("volumeName") or spec.get("storageClassName"):
            continue
        path = directory / metadata["uid"]
        if path.exists():
            continue
        path.mkdir(parents=True)
        names = {name: metadata[name] for name in ("name", "namespace", "uid")}
        claimed = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **names}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"pv-{metadata['uid']}"},
            "spec": {
                "accessModes": spec["accessModes"],
                "capacity": spec["resources"]["requests"],
                "hostPath": {"path": str(path)},
                "claimRef": claimed,
                # As a retired one is not wiped by anybody here.
                "persistentVolumeReclaimPolicy": "Retain",
            },
        }
        client.create(volume)
