"""Containers of the test's kubelet, and those that run scripts of a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.launch.k8s.cluster import Object
from tests.launch.k8s.kubelet_log import ContainerLog
from tests.launching import environment

# A mount: what of this machine, where in the container, and whether it is read-only.
Mount = tuple[Path, str, bool]


def expanded(words: Sequence[str]) -> list[str]:
    """Returns a command as Kubernetes runs it; variables, $(NAME), are not used."""
    return [word.replace("$$", "$") for word in words]


class Process:
    """A container: a command, and all processes that it starts."""

    def __init__(
        self, command: Sequence[object], env: Mapping[str, str], log: ContainerLog
    ):
        """Starts it."""
        self._process = subprocess.Popen(
            list(map(str, command)),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        log.read(self._process.stdout)

    def poll(self) -> int | None:
        """Returns the exit code, 128 more than a signal; None while it runs."""
        status = self._process.poll()
        return 128 - status if status is not None and status < 0 else status

    def terminate(self) -> None:
        """Sends SIGTERM to the first process."""
        if self.poll() is None:
            os.kill(self._init(), signal.SIGTERM)

    def kill(self) -> None:
        """Kills all processes, also those that the first one left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def exec(self, command: Sequence[str], seconds: float) -> int:
        """Runs another command in the container; returns its status."""
        return 0  # in a script's there is nothing to do

    def answers(self, port: int) -> bool:
        """Returns whether something listens on a port."""
        return True

    def _init(self) -> int:
        """Returns the process id of the first process."""
        return self._process.pid


class Image(Protocol):
    """What a kubelet asks of an image."""

    def start(self, pod: Object, mounts: list[Mount], log: ContainerLog) -> Process:
        """Starts the container of a pod."""

    def address(self, pod: Object) -> str:
        """Connects a pod to the network; returns its IP address."""

    def release(self, pod: Object) -> None:
        """Disconnects a pod that has ended."""


class Scripts:
    """An image whose containers are shell scripts of a test.

    A script finds the command of the manifest in its arguments, and the name of the
    container, the pod, its namespace and its job in the environment.
    """

    def __init__(self, scripts: Mapping[str, str]):
        """Takes a script for each name of a container."""
        self._scripts = scripts

    def start(self, pod: Object, mounts: list[Mount], log: ContainerLog) -> Process:
        """Starts the container of a pod."""
        container, metadata = pod["spec"]["containers"][0], pod["metadata"]
        env = {
            **environment(),
            "CONTAINER": container["name"],
            "POD": metadata["name"],
            "NAMESPACE": metadata["namespace"],
            "JOB": metadata.get("labels", {}).get("app.kubernetes.io/instance", ""),
        }
        script = self._scripts[container["name"]]
        command = ("sh", "-c", script, "sh", *container.get("command", ()))
        return Process(command, env, log)

    def address(self, pod: Object) -> str:
        """Returns the IP address of a pod: scripts have no network of their own."""
        return "127.0.0.1"

    def release(self, pod: Object) -> None:
        """Does nothing."""
