"""A user of a cluster: a namespace, and the submissions from it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import yaml

from tests.launch.k8s.cluster import Client, Object, path_of, wait_for
from tests.launch.k8s.kubelet import Kubelet
from tests.launch.k8s.runtime import Scripts
from tests.launching import ROOT, environment

SUBMIT = ROOT / "launch/submit_k8s"
_ROLES = ROOT / "k8s/access"

_COUNT = itertools.count(1)
_V1 = {"apiVersion": "v1"}

# Kinds of objects that nobody submitted.
_GIVEN = ("Event", "ServiceAccount", "ResourceQuota", "LimitRange", "Endpoints")
_GROUPS = ("api/v1", "apis/apps/v1", "apis/batch/v1", "apis/policy/v1")
_OPTIONAL = ("apis/kubeflow.org/v2beta1", "apis/networking.k8s.io/v1")


def role(name: str) -> list[Object]:
    """Returns the rules of a role of k8s/access."""
    rules: list[Object] = yaml.safe_load((_ROLES / f"{name}.yaml").read_text())["rules"]
    return rules


class Submission:
    """A run of launch/submit_k8s in the background.

    Attributes:
        messages: lines of standard error so far, each with its time.
        log: lines of standard output so far.
    """

    def __init__(self, kubeconfig: Path, *flags: str):
        """Starts it as the user of a kubeconfig."""
        self._process = subprocess.Popen(
            [sys.executable, str(SUBMIT), *flags],
            env={**environment(), "KUBECONFIG": str(kubeconfig)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job, as this may be a part of, ignores SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.messages: list[tuple[float, str]] = []
        self.log: list[str] = []

        def read(stream: IO[str], add: Callable[[str], None]) -> threading.Thread:
            def run() -> None:
                for line in stream:
                    add(line.rstrip("\n"))

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            return thread

        out, err = self._process.stdout, self._process.stderr
        assert out is not None
        assert err is not None
        self._readers = [
            read(out, self.log.append),
            read(err, lambda line: self.messages.append((time.monotonic(), line))),
        ]

    def __str__(self) -> str:
        """Returns what it printed."""
        return "\n".join(self.lines()) + "\n--- log:\n" + "\n".join(self.log)

    def lines(self) -> list[str]:
        """Returns its messages so far."""
        return [line for _, line in self.messages]

    def line(self) -> str:
        """Returns its only message."""
        lines = self.lines()
        assert len(lines) == 1, str(self)
        return lines[0]

    def wait_for(self, text: str, seconds: float = 30) -> float:
        """Waits for a message that has a text; returns when it was printed."""
        end = time.monotonic() + seconds
        while True:
            over = self._process.poll() is not None
            if over:
                self._join()
            for when, line in list(self.messages):
                if text in line:
                    return when
            assert not over, f"ended without {text!r}:\n{self}"
            assert time.monotonic() < end, f"no {text!r}:\n{self}"
            time.sleep(0.05)

    def end(self, status: int, seconds: float = 60) -> Submission:
        """Waits until it ends with an exit status."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"timed out:\n{self}") from None
        self._join()
        ended = self._process.returncode
        assert ended == status, f"ended with {ended}, not {status}:\n{self}"
        assert "Traceback" not in str(self), str(self)
        return self

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(10)

    def running(self) -> bool:
        """Returns whether it has not ended."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Sends SIGINT."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait(20)


class Team:
    """A namespace with a user, as a context manager.

    Attributes:
        name: of the namespace.
        admin: requests of the administrator.
        kubelet: node of the cluster.
    """

    def __init__(self, kubelet: Kubelet):
        """Does nothing yet."""
        self.name = f"team-{os.getpid()}-{next(_COUNT)}"
        self.admin: Client = kubelet.client
        self.kubelet = kubelet
        self._cluster = kubelet.cluster
        self._started: list[Submission] = []
        self._kubeconfig: Path | None = None

    def __enter__(self) -> Team:
        """Creates the namespace, which enforces the restricted pod security."""
        enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": self.name, "labels": enforce}
        self.admin.create({**_V1, "kind": "Namespace", "metadata": metadata})
        account = f"/api/v1/namespaces/{self.name}/serviceaccounts/default"
        # Controllers wait ever longer while the API server is restarted.
        wait_for(lambda: self.admin.find(account), lambda: "no service account", 120)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all submissions, and deletes the namespace."""
        for submission in self._started:
            submission.kill()
        path = f"/api/v1/namespaces/{self.name}"
        wait_for(lambda: self.admin.ask("DELETE", path), lambda: "no API server")
        wait_for(lambda: not self.admin.items(f"{path}/pods"), self.show, 60)

    def show(self) -> str:
        """Returns the state of the namespace, for the message of a failure."""
        path = f"/api/v1/namespaces/{self.name}"
        pods = self.admin.items(f"{path}/pods")
        events = self.admin.items(f"{path}/events")
        lines = [f"{pod['metadata']['name']} {pod['status']}" for pod in pods]
        lines += [f"{event['reason']}: {event['message']}" for event in events]
        return "\n".join([*lines, self.kubelet.logs(self.name)])

    def allow(self, *roles: str, user: str = "me") -> None:
        """Creates the user who submits from now on.

        Args:
            roles: the user's only rights, files of k8s/access.
            user: name.
        """
        rules = [rule for name in roles for rule in role(name)]
        self._kubeconfig = self._cluster.user(self.name, user, rules)

    @property
    def kubeconfig(self) -> Path:
        """The credentials of the user, who is created with all rights if missing."""
        if self._kubeconfig is None:
            self.allow("jobs", "mpijobs", "claims")
        assert self._kubeconfig is not None
        return self._kubeconfig

    def change_kubeconfig(self, change: Callable[[Object, Object], object]) -> None:
        """Lets submissions use other credentials.

        Args:
            change: changes the cluster and the user of the kubeconfig.
        """
        kubeconfig = yaml.safe_load(self.kubeconfig.read_text())
        change(kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"])
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig))

    def create(self, kind: str, name: str, version: str = "v1", **rest: object) -> None:
        """Creates an object in the namespace, as the administrator."""
        metadata = {"name": name, "namespace": self.name}
        thing = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
        self.admin.create(thing)

    def create_claim(self, name: str, **spec: object) -> None:
        """Creates a claim, as the administrator."""
        storage = {"requests": {"storage": "1Gi"}}
        rest = {"accessModes": ["ReadWriteMany"], "resources": storage, **spec}
        self.create("PersistentVolumeClaim", name, spec=rest)

    def start(self, *flags: str) -> Submission:
        """Submits in the background."""
        self._started.append(Submission(self.kubeconfig, *flags))
        return self._started[-1]

    def submit(self, *flags: str, status: int = 0, seconds: float = 60) -> Submission:
        """Submits, and waits until that ends with an exit status."""
        return self.start(*flags).end(status, seconds)

    def pods(self, text: str = "") -> list[Object]:
        """Returns the pods whose names contain a text."""
        pods = self.admin.items(f"/api/v1/namespaces/{self.name}/pods")
        return [pod for pod in pods if text in pod["metadata"]["name"]]

    def left(self, claims: bool = True) -> list[str]:
        """Returns the objects of the namespace, KIND/NAME, without those of its admin.

        Args:
            claims: whether volume claims count.
        """
        found = []
        for group in (*_GROUPS, *_OPTIONAL):
            resources = self.admin.find(f"/{group}") or {"resources": ()}
            for resource in resources["resources"]:
                listable = "list" in resource["verbs"] and resource["namespaced"]
                if not listable or resource["kind"] in _GIVEN:
                    continue
                path = f"/{group}/namespaces/{self.name}/{resource['name']}"
                for thing in self.admin.items(path):
                    found.append(f"{resource['kind']}/{thing['metadata']['name']}")
        found.remove("ConfigMap/kube-root-ca.crt")
        return [f for f in found if claims or not f.startswith("PersistentVolumeClaim")]

    def assert_only(self, *expected: str, seconds: float = 60) -> None:
        """Waits until only some objects are left; see `left`."""
        wait_for(
            lambda: sorted(self.left()) == sorted(expected),
            lambda: f"left: {self.left()}, expected: {expected}\n{self.show()}",
            seconds,
        )


_STEPS = """
case $CONTAINER in
  worker) trap 'exit 0' TERM; while :; do sleep 1000 & wait; done ;;
esac
i=0
while [ ! -e "%(stop)s" ]; do
  i=$((i + 1))
  echo "Step $i: loss = 0.57 (0.001 sec)"
  sleep 0.05
done
exit "$(cat "%(stop)s")"
"""


class Steps:
    """An image that logs steps until it is told with which exit status to end.

    Attributes:
        image: its name.
    """

    def __init__(self, kubelet: Kubelet, directory: Path):
        """Adds the image to a node.

        Args:
            kubelet: the node.
            directory: for a file that tells it to end.
        """
        self._stop = directory / "stop"
        self.image = f"registry.example/steps:{next(_COUNT)}"
        script = _STEPS % {"stop": self._stop}
        names = ("launcher", "worker", "trainer")
        kubelet.images[self.image] = Scripts(dict.fromkeys(names, script))

    def finish(self, status: int = 0) -> None:
        """Lets the training end."""
        new = self._stop.with_name("new")
        new.write_text(str(status))
        new.rename(self._stop)

    def resume(self) -> None:
        """Lets later containers run again."""
        self._stop.unlink()


def steps(lines: list[str]) -> list[int]:
    """Returns the numbers of the steps in a log, which has nothing else."""
    return [int(line.removeprefix("Step ").partition(":")[0]) for line in lines]


def claim_path(namespace: str, name: str) -> str:
    """Returns the path of a claim."""
    metadata = {"namespace": namespace}
    kind = {**_V1, "kind": "PersistentVolumeClaim", "metadata": metadata}
    return path_of(kind, name)
