"""A node for a control plane of the tests: a small kubelet, and what else it needs.

It binds pods to its node, runs their commands as processes, reports their states,
serves their logs, honours their grace periods, restarts what failed, and makes volumes.
Images are those that a test gives it. There is one container in a pod, no probe but of
readiness, of a port, no limits and no evictions.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from kubernetes.client.exceptions import ApiException

from tests.launch.k8s.cluster import UNREACHABLE, Cluster, Object
from tests.launch.k8s.kubelet_log import ContainerLog, LogServer
from tests.launch.k8s.kubelet_pod import POLL, STRATEGIC, Pod, now
from tests.launch.k8s.runtime import Image
from tests.launch.k8s.scheduler import Scheduler, provision

NODE = "node"
CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "200", "ephemeral-storage": "1Ti"}


class Kubelet:
    """The node, as a context manager.

    Attributes:
        images: by name. A test may add some; every other one cannot be pulled.
        directory: of volumes and other files.
        cluster: the control plane.
        client: requests of its administrator.
    """

    def __init__(self, cluster: Cluster, directory: Path):
        """Does nothing yet.

        Args:
            cluster: the control plane.
            directory: for files of the pods.
        """
        self.cluster = cluster
        self.images: dict[str, Image] = {}
        self.directory = directory
        self.client = cluster.admin
        self._pods: dict[str, Pod] = {}  # by uid
        self._scheduler = Scheduler(self.client, NODE, CAPACITY)
        self._logs = LogServer(directory, self._find_log)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._beaten = 0.0

    def __enter__(self) -> Kubelet:
        """Creates the node, and starts."""
        self._logs.__enter__()
        self.client.create(_node(self._logs.port))
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kills all pods, and stops."""
        self._stopped.set()
        self._thread.join()
        for pod in self._pods.values():
            pod.gone.set()
        for pod in self._pods.values():
            pod.join()
        self._logs.__exit__()

    def log(self, namespace: str, pod: str) -> str:
        """Returns the log of a pod, also of one that was deleted."""
        log = self._find_log(namespace, pod)
        return log.text() if log else ""

    def logs(self, namespace: str) -> str:
        """Returns the logs of all pods of a namespace, for the message of a failure."""
        found = [p for p in self._pods.values() if p.namespace == namespace]
        return "\n".join(
            f"--- {pod.name}:\n{self.log(namespace, pod.name)}" for pod in found
        )

    def _find_log(self, namespace: str, name: str) -> ContainerLog | None:
        for pod in reversed(list(self._pods.values())):
            if (pod.namespace, pod.name) == (namespace, name):
                return pod.log
        return None

    def _run(self) -> None:
        while not self._stopped.wait(POLL):
            try:
                if time.monotonic() > self._beaten + 5:
                    self._beat()
                self._sync()
            except UNREACHABLE:
                continue
            except ApiException as error:
                # Of a server that starts, or about what has just been changed.
                if error.status < 500 and error.status not in (403, 404, 409):
                    raise

    def _sync(self) -> None:
        """Acts on the pods as they are now."""
        pods = self.client.items("/api/v1/pods")
        provision(self.client, self.directory / "volumes")
        for pod in pods:
            uid, spec = pod["metadata"]["uid"], pod["spec"]
            if not spec.get("nodeName"):
                if not spec.get("schedulingGates"):
                    self._scheduler.schedule(pod, pods)
            elif uid not in self._pods:
                if pod["status"].get("phase") not in ("Succeeded", "Failed"):
                    self._pods[uid] = Pod(self.client, self.images, self.directory, pod)
                    self._pods[uid].start()
            elif "deletionTimestamp" in pod["metadata"]:
                self._pods[uid].delete(pod["metadata"]["deletionGracePeriodSeconds"])
        there = {pod["metadata"]["uid"] for pod in pods}
        for uid in self._pods.keys() - there:
            self._pods[uid].gone.set()

    def _beat(self) -> None:
        """Reports that the node is ready, without which its pods are evicted."""
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": now(),
        }
        status = {"status": {"conditions": [condition]}}
        self.client.ask("PATCH", f"/api/v1/nodes/{NODE}/status", status, STRATEGIC)
        self._beaten = time.monotonic()


def _node(port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
        "status": {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }
