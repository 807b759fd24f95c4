"""A real Kubernetes control plane on this machine, without nodes: see kubelet.py.

The binaries are those of KUBE_BIN_DIR. `Cluster` starts them; `Client` sends requests
as one user.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.launching import ROOT

Object = dict[str, Any]

SHARED = ROOT.parent / "shared"
_SCRIPT = SHARED / "kube/up.sh"
_CRDS = SHARED / "data/k8s"
_CRD = _CRDS / "kubeflow.org_mpijobs.yaml"

# Raised while the API server is away.
UNREACHABLE = (urllib3.exceptions.HTTPError, OSError)

_CLUSTER_WIDE = (
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrainingRuntime",
    "Namespace",
    "Node",
    "PersistentVolume",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


def missing(*programs: str) -> str:
    """Returns why there can be no cluster here; "" if there can.

    Args:
        programs: needed of KUBE_BIN_DIR in addition to the control plane.
    """
    binaries = os.environ.get("KUBE_BIN_DIR")
    if not binaries:
        return "KUBE_BIN_DIR is not set: no binaries of Kubernetes"
    for program in ("kube-apiserver", "kube-controller-manager", *programs):
        if not os.access(Path(binaries) / program, os.X_OK):
            return f"there is no {program} in KUBE_BIN_DIR"
    for path in (_SCRIPT, _CRD):
        if not path.exists():
            return f"there is no {path.name} to bring up a cluster"
    for program in ("openssl", "curl"):
        if not shutil.which(program):
            return f"there is no {program}"
    if not (shutil.which("etcd") or os.access(Path(binaries) / "etcd", os.X_OK)):
        return "there is no etcd"
    return ""


def wait_for(
    condition: Callable[[], Any], about: Callable[[], object], seconds: float = 30
) -> Any:
    """Waits until a condition is true, and returns its value.

    Args:
        condition: is asked again while the API server is away.
        about: returns what to show if that takes too long.
        seconds: timeout.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except UNREACHABLE:
            pass
        except ApiException as error:
            if error.status < 500:
                raise
        assert time.monotonic() < end, f"timed out:\n{about()}"
        time.sleep(0.1)


class Client:
    """Requests to the API server as one user; objects are plain dictionaries."""

    def __init__(self, kubeconfig: Path):
        """Reads the credentials of a kubeconfig."""
        settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
        settings.retries = False
        self._api = client.ApiClient(settings)

    def ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        kind: str = "json",
        **query: Any,
    ) -> Object:
        """Sends a request.

        Args:
            method: of HTTP.
            path: of the object or list, without the query.
            body: object to send.
            kind: content type, without "application/".
            query: parameters.

        Returns:
            The object of the response; the first event of a watch.

        Raises:
            ApiException: The server refuses; see its `status` and `body`.
        """
        response = self._api.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params={
                "Content-Type": f"application/{kind}",
                "Accept": "application/json",
            },
            body=body,
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=20,
        )
        answer: Object = json.loads(response.data.split(b"\n")[0])
        return answer

    def create(self, thing: Object, **query: Any) -> Object:
        """Creates an object."""
        return self.ask("POST", path_of(thing, ""), thing, **query)

    def apply(self, thing: Object, **query: Any) -> Object:
        """Applies an object, server-side."""
        how = {"fieldManager": "tests", "fieldValidation": "Strict", **query}
        path = path_of(thing, thing["metadata"]["name"])
        return self.ask("PATCH", path, thing, "apply-patch+yaml", **how)

    def items(self, path: str, **query: Any) -> list[Object]:
        """Returns the objects of a list."""
        found: list[Object] = self.ask("GET", path, **query)["items"]
        return found

    def find(self, path: str) -> Object | None:
        """Returns an object; None if it does not exist."""
        try:
            return self.ask("GET", path)
        except ApiException as error:
            if error.status != 404:
                raise
            return None


def path_of(thing: Object, name: str) -> str:
    """Returns the path of an object of the kind and namespace of another one."""
    version, kind = thing["apiVersion"], thing["kind"]
    prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    if kind not in _CLUSTER_WIDE:
        prefix += f"/namespaces/{thing['metadata']['namespace']}"
    plural = kind.lower()
    plural = f"{plural[:-1]}ies" if plural.endswith("y") else f"{plural}s"
    return f"{prefix}/{plural}/{name}".rstrip("/")


def _established(definition: Object) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


class Cluster:
    """A control plane, as a context manager.

    Attributes:
        directory: with its certificates, data and logs.
        admin: requests of the administrator.
    """

    def __init__(self, directory: Path):
        """Does not start it.

        Args:
            directory: created if missing; used by nothing else.
        """
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self._kubeconfig = directory / "kubeconfig"
        self._calls = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Cluster:
        """Starts it."""
        try:
            self._start("up")
            self.admin = Client(self._kubeconfig)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all its processes."""
        self._ended.set()
        self._call("down")

    def _call(self, *words: object) -> None:
        command = ["bash", _SCRIPT, self.directory, *words]
        # Its output goes to a file: what it starts keeps the descriptors open.
        with self._calls, (self.directory / "up.log").open("w+") as output:
            done = subprocess.run(
                list(map(str, command)),
                env={**os.environ, "KUBE_WAIT": "180"},  # for each of its processes
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=300,
            )
            output.seek(0)
            assert done.returncode == 0, f"{words}: {output.read()}"

    def _start(self, *words: object) -> None:
        """Starts what does not run; twice, as on a busy machine it may give up."""
        try:
            self._call(*words)
        except AssertionError:
            self._call(*words)

    def install_operator(self) -> None:
        """Starts the MPI Operator, and creates its resource.

        It ends when it cannot renew its lease. As the Deployment of a cluster would, a
        thread starts it again.
        """
        self._start("mpi", _CRD)

        def keep() -> None:
            while not self._ended.wait(1):
                if self._runs("kube-apiserver") and not self._runs("mpi-operator"):
                    # Fails if the API server is just being killed.
                    with contextlib.suppress(AssertionError):
                        self._call("mpi")

        threading.Thread(target=keep, daemon=True).start()

    def _runs(self, program: str) -> bool:
        """Returns whether a process that was started has not ended."""
        try:
            pid = (self.directory / f"run/{program}.pid").read_text().strip()
            return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    def create_definitions(self) -> None:
        """Creates all resources that are known, without what acts on them."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for file in sorted(_CRDS.iterdir()):
            data = file.read_bytes()
            text = gzip.decompress(data) if file.suffix == ".gz" else data
            new = self.admin.ask("POST", path, yaml.load(text, yaml.CSafeLoader))
            self._wait_until_established(f"{path}/{new['metadata']['name']}")

    def _wait_until_established(self, definition: str) -> None:
        wait_for(
            lambda: _established(self.admin.ask("GET", definition)), lambda: definition
        )

    def kill_apiserver(self) -> None:
        """Ends the API server at once, as a node that fails."""
        self._call("kill", "kube-apiserver")

    def restart_apiserver(self) -> None:
        """Ends the API server at once, and starts it again, which takes seconds."""
        self.kill_apiserver()
        self._start("up")

    def user(self, namespace: str, name: str, rules: list[Object]) -> Path:
        """Creates a user who has some rights in a namespace and none elsewhere.

        Args:
            namespace: existing namespace.
            name: of the user, a service account.
            rules: rules of the user's role.

        Returns:
            The user's kubeconfig, whose context is in the namespace.
        """
        rbac: Object = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        metadata = {"name": name, "namespace": namespace}
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
        }
        role = {**rbac, "kind": "Role", "metadata": metadata, "rules": rules}
        subject = {"kind": "ServiceAccount", **metadata}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role"}
        binding = {
            **rbac,
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": {**reference, "name": name},
        }
        for thing in (account, role, binding):
            self.admin.create(thing)
        token = self.admin.ask("POST", f"{path_of(account, name)}/token", {"spec": {}})
        kubeconfig = yaml.safe_load(self._kubeconfig.read_text())
        user = {"name": name, "user": {"token": token["status"]["token"]}}
        kubeconfig["users"] = [user]
        kubeconfig["contexts"][0]["context"] |= {"user": name, "namespace": namespace}
        path = self.directory / f"{namespace}-{name}.kubeconfig"
        path.write_text(yaml.safe_dump(kubeconfig))
        return path
