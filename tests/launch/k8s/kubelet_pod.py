"""One pod on the test's kubelet: its container, and what the API shows of it."""

from __future__ import annotations

import copy
import datetime
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from tests.launch.k8s import kubelet_volumes
from tests.launch.k8s.cluster import UNREACHABLE, Client, Object
from tests.launch.k8s.kubelet_log import ContainerLog
from tests.launch.k8s.runtime import Image, Process, expanded
from tests.launch.k8s.scheduler import warn

POLL = 0.2  # seconds
STRATEGIC = "strategic-merge-patch+json"

_IMAGE_NAME = re.compile(r"([\w.-]+(:\d+)?/)?[a-z0-9._/-]+(:[\w.-]+)?(@sha256:\w+)?")


def now() -> str:
    """Returns the time as objects have it."""
    time_ = datetime.datetime.now(datetime.timezone.utc)
    return time_.strftime("%Y-%m-%dT%H:%M:%SZ")


class _Gone(Exception):
    """The pod is not in the API any more, or is to be deleted."""


class Pod(threading.Thread):
    """One pod, from its start to its deletion.

    Attributes:
        log: of its container; None before it starts.
        gone: set when the pod is not in the API any more.
    """

    def __init__(
        self,
        client: Client,
        images: Mapping[str, Image],
        directory: Path,
        pod: Object,
    ):
        """Does not start it.

        Args:
            client: administrator.
            images: by name.
            directory: for files of the pod.
            pod: as the API server has it, bound to this node.
        """
        super().__init__(daemon=True)
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.log: ContainerLog | None = None
        self.gone = threading.Event()
        self._deleted = threading.Event()
        self._grace = 0.0
        self._client = client
        self._images = images
        self._directory = directory / "pods" / pod["metadata"]["uid"]
        self._pod = pod
        self._container = pod["spec"]["containers"][0]
        for words in ("command", "args"):
            if words in self._container:
                self._container[words] = expanded(self._container[words])
        self._path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self._image: Image | None = None
        self._process: Process | None = None
        self._status: Object = {"phase": "Pending", "startTime": now()}
        self._restarts = 0
        self._last: Object = {}

    def delete(self, grace: float) -> None:
        """Stops the pod, and deletes it from the API.

        Args:
            grace: seconds until its processes are killed.
        """
        self._grace = grace
        self._deleted.set()

    def run(self) -> None:
        try:
            self._wait_for_image()
            while self._run_container():
                self._wait(1)
            while True:  # ended, until it is deleted
                self._wait(POLL)
        except _Gone:
            self._end()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._deleted.is_set() or self.gone.wait(min(POLL, seconds)):
                raise _Gone

    # --- What the API shows.

    def _report(self, state: Mapping[str, Any], ready: bool = False) -> None:
        """Reports the state of the container; retries until the server has it."""
        truth = "True" if ready else "False"
        self._status["conditions"] = [
            {"type": name, "status": truth} for name in ("Ready", "ContainersReady")
        ]
        status = {
            "name": self._container["name"],
            "image": self._container["image"],
            "imageID": "",
            "ready": ready,
            "started": "running" in state,
            "restartCount": self._restarts,
            "state": dict(state),
            "lastState": self._last,
        }
        self._status["containerStatuses"] = [status]
        uid = {"uid": self._pod["metadata"]["uid"]}
        body = {"metadata": uid, "status": copy.deepcopy(self._status)}
        self._ask("PATCH", f"{self._path}/status", body, STRATEGIC)

    def _ask(self, *request: Any) -> None:
        """Asks the server until it answers, or the pod is not in it any more."""
        while not self.gone.is_set():
            try:
                self._client.ask(*request)
                return
            except UNREACHABLE:
                pass
            except ApiException as error:
                if error.status in (404, 409):
                    return
            time.sleep(POLL)

    def _hold(self, reason: str, message: str = "") -> None:
        """Reports what the container waits for."""
        waiting = {"reason": reason, **({"message": message} if message else {})}
        self._report({"waiting": waiting})

    def _warn(self, reason: str, message: str) -> None:
        try:
            warn(self._client, self._pod, reason, message)
        except (*UNREACHABLE, ApiException):
            pass  # events are lost in a cluster, too

    # --- Its life.

    def _wait_for_image(self) -> None:
        name = self._container["image"]
        is_valid = _IMAGE_NAME.fullmatch(name) and len(name) <= 255
        if not is_valid:
            why = f'couldn\'t parse image name "{name}": invalid reference format'
            why = f'Failed to apply default image tag "{name}": {why}'
            self._warn("InspectFailed", why)
            self._hold("InvalidImageName", why)
        while (image := self._images.get(name)) is None:
            if is_valid:
                why = f'failed to pull and unpack image "{name}": not found'
                why = f"rpc error: code = NotFound desc = {why}"
                self._warn("Failed", f'Failed to pull image "{name}": {why}')
                self._hold("ErrImagePull", why)
                self._wait(1)
                self._hold(
                    "ImagePullBackOff", f'Back-off pulling image "{name}": {why}'
                )
            self._wait(5)
        self._image = image
        self._status["podIP"] = image.address(self._pod)
        self._status["podIPs"] = [{"ip": self._status["podIP"]}]

    def _run_container(self) -> bool:
        """Runs the container until it ends; returns whether to start it again."""
        self._hold("ContainerCreating")
        mounts = self._mounts()
        assert self._image is not None
        self.log = ContainerLog()
        begin = now()
        self._process = self._image.start(self._pod, mounts, self.log)
        running = {"running": {"startedAt": begin}}
        self._status["phase"] = "Running"
        probe = self._container.get("readinessProbe", {}).get("tcpSocket", {})
        ready = not probe
        self._report(running, ready)
        while (code := self._process.poll()) is None:
            self._wait(POLL)
            if not ready and self._process.answers(self._port(probe["port"])):
                ready = True
                self._report(running, ready)
        return self._ended(code, begin)

    def _ended(self, code: int, begin: str) -> bool:
        assert self._process is not None and self.log is not None
        self._process.kill()
        self.log.wait(5)
        end = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": begin,
            "finishedAt": now(),
        }
        policy = self._pod["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and code):
            self._restarts += 1
            self._last = {"terminated": end}
            self._hold("CrashLoopBackOff", f"back-off restarting {self.name}")
            return True
        self._status["phase"] = "Failed" if code else "Succeeded"
        self._report({"terminated": end})
        return False

    def _mounts(self) -> list[Any]:
        told = ""
        while True:
            try:
                return kubelet_volumes.mounts(self._client, self._pod, self._directory)
            except kubelet_volumes.NotReady as error:
                if str(error) != told:
                    told = str(error)
                    self._warn("FailedMount", f"MountVolume.SetUp failed: {error}")
            except (*UNREACHABLE, ApiException):
                pass
            self._wait(POLL)

    def _port(self, port: int | str) -> int:
        named = {p.get("name"): p["containerPort"] for p in self._container["ports"]}
        return int(named.get(port, port))

    def _end(self) -> None:
        """Ends the container, in its time unless the pod is gone already."""
        process = self._process
        if process is not None:
            begin = self._status["startTime"]
            running = process.poll() is None
            if running and not self.gone.is_set():
                self._terminate(process)
            process.kill()
            if running and not self.gone.is_set():
                # Never again: the pod is deleted.
                self._pod["spec"]["restartPolicy"] = "Never"
                self._ended(process.poll() or 0, begin)
        elif "containerStatuses" in self._status and not self.gone.is_set():
            # Never started: as the real one says it, else the Job keeps its finalizer.
            self._status["phase"] = "Failed"
            unknown = {"exitCode": 137, "reason": "ContainerStatusUnknown"}
            self._report({"terminated": unknown})
        if self._image is not None:
            self._image.release(self._pod)
        uid = {"uid": self._pod["metadata"]["uid"]}
        options = {"gracePeriodSeconds": 0, "preconditions": uid}
        self._ask("DELETE", self._path, options)

    def _terminate(self, process: Process) -> None:
        """Runs the preStop hook, sends SIGTERM, and waits for the grace period."""
        end = time.monotonic() + self._grace
        hook = self._container.get("lifecycle", {}).get("preStop", {}).get("exec")
        if hook:
            process.exec(hook["command"], self._grace)
        process.terminate()
        end = max(end, time.monotonic() + 2)  # as after a hook that took all the time
        while process.poll() is None and time.monotonic() < end:
            if self.gone.wait(POLL):
                return
