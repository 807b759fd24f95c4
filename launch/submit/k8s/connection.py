"""Connection to the API server: credentials, retries and one-line errors."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import kube_config
from kubernetes.config.config_exception import ConfigException

from distmnist.core.errors import InputError
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.pods import one_line

CONNECT_SECONDS = 10  # timeout

# Raised by the client: the server answers with an error, is unreachable, or drops the
# connection.
FAILURES = (ApiException, urllib3.exceptions.HTTPError, OSError)

NO_OPERATOR = (
    "the cluster has neither MPIJobs nor TrainJobs: install the MPI Operator or "
    "Kubeflow Trainer (docs/kubernetes.md), or train with --workers=1, which requires "
    "none"
)

# Group, version and plural name of each kind of job, and of what runs a TrainJob.
JOBS = {
    "MPIJob": ("kubeflow.org", "v2beta1", "mpijobs"),
    "TrainJob": ("trainer.kubeflow.org", "v1alpha1", "trainjobs"),
    "Job": ("batch", "v1", "jobs"),
}
KINDS = {**JOBS, "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets")}

_RETRY_SECONDS = 1.0
_ATTEMPTS = 5
# A server that has started again refuses what is permitted, and does not know all kinds
# of objects, until its caches are loaded.
_UNSETTLED = (403, 404)
_UNSETTLED_SECONDS = 30.0
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

T = TypeVar("T")


class Connection:
    """Connection to the API server, for one namespace.

    Attributes:
        namespace: Namespace of all objects.
        core: Client of the core API.
        custom: Client of custom resources and, as plain dictionaries, of jobs.
        apis: Client of the groups of resources that the cluster has.
    """

    def __init__(self, context: str | None, namespace: str | None):
        """Loads the kubeconfig or, inside a pod, the service account's credentials.

        Args:
            context: Context of the kubeconfig; None for the current one.
            namespace: Namespace; None for that of the context or the pod.

        Raises:
            InputError: There are no credentials.
        """
        default = _load_credentials(context)
        self.namespace = namespace or default
        settings = client.Configuration.get_default_copy()
        if "://" not in settings.host:
            raise InputError(
                f"kubeconfig: server {settings.host}: must begin with https://"
            )
        settings.retries = False  # see `retried`
        # For insecure-skip-tls-verify, it would be printed at each request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._host = settings.host
        self._lost_at = -math.inf
        connection = client.ApiClient(settings)
        self.core = client.CoreV1Api(connection)
        self.custom = client.CustomObjectsApi(connection)
        self.apis = client.ApisApi(connection)

    def place(self, kind: str) -> tuple[str, str, str, str]:
        """Returns where the client finds objects of a kind."""
        group, version, plural = KINDS[kind]
        return group, version, self.namespace, plural

    def read(self, kind: str, name: str) -> Object:
        """Returns an object.

        Args:
            kind: PersistentVolumeClaim, or one of `KINDS`.
            name: Its name.

        Raises:
            kubernetes.client.exceptions.ApiException: There is none, for example.
        """
        if kind == "PersistentVolumeClaim":
            read = self.core.read_namespaced_persistent_volume_claim
            return decode(read(name, self.namespace, **raw()))
        get = self.custom.get_namespaced_custom_object
        return decode(get(*self.place(kind), name, **raw()))

    def retried(self, attempt: Callable[[], T], attempts: float = _ATTEMPTS) -> T:
        """Retries an operation while the server is unreachable or overloaded.

        Args:
            attempt: The operation.
            attempts: How often it is tried; may be infinite.

        Returns:
            The result of the operation.

        Raises:
            InputError: The server rejects the request, or all attempts failed.
        """
        while True:
            attempts -= 1
            try:
                return attempt()
            except FAILURES as error:
                self.endure(error)
                if attempts < 1:
                    raise self._unreachable(error) from None
            pause()

    def endure(self, error: Exception) -> None:
        """Returns if a retry may succeed.

        Args:
            error: One of `FAILURES`.

        Raises:
            InputError: The server rejects the request.
        """
        status = getattr(error, "status", None)
        if not status or status == 429 or status >= 500:
            self._lost_at = time.monotonic()
        elif not (
            status in _UNSETTLED
            and time.monotonic() < self._lost_at + _UNSETTLED_SECONDS
        ):
            raise _rejection(error) from None

    def _unreachable(self, error: Exception) -> InputError:
        if isinstance(error, ApiException):
            if error.status in _UNSETTLED:
                return _rejection(error)
            # Without an answer, the status is 0, and the reason may have several lines.
            problem = one_line(f"{error.status or ''} {error.reason}")
        else:
            problem = str(error).rpartition(": ")[2].strip("()'\" ")
        return InputError(
            f"no response from the cluster at {self._host} ({problem}): check the "
            "kubeconfig and the network"
        )


def pause() -> None:
    """Waits before the next attempt."""
    time.sleep(_RETRY_SECONDS)


def _rejection(error: Any) -> InputError:
    """Returns the one-line error for a rejected request."""
    try:
        status = json.loads(error.body)
        message = status.get("message", error.reason)
    except (TypeError, ValueError):  # a path that the server does not know: plain text
        status, message = {}, str(error.body or error.reason).strip()
    message = one_line(message)
    if error.status == 404 and not (status.get("details") or {}).get("name"):
        return InputError(NO_OPERATOR)
    if "exceeded quota" in message:
        return InputError(f"quota of the namespace exceeded: {message}")
    remedy = {
        401: "the cluster rejected the credentials: log in to it again",
        403: f"forbidden: request permission, or set another --namespace: {message}",
        404: f"{message}: create it first",
    }
    return InputError(
        remedy.get(error.status, f"the cluster rejected it ({error.status}): {message}")
    )


def raw() -> dict[str, Any]:
    """Returns the arguments with which a client method returns raw JSON."""
    return {"_preload_content": False, "_request_timeout": CONNECT_SECONDS}


def decode(response: Any) -> Object:
    """Returns the object in a raw JSON response."""
    try:
        decoded: Object = json.loads(response.data)
    except ValueError:
        raise InputError(
            "the answer is not that of an API server: check the server of the "
            "kubeconfig, and whether a proxy or a page to log in answers instead"
        ) from None
    return decoded


def by_name(listed: Object) -> dict[str, Object]:
    """Returns the objects of a list by their names."""
    return {item["metadata"]["name"]: item for item in listed["items"]}


def _load_credentials(context: str | None) -> str:
    """Has clients use a kubeconfig or, inside a pod, the service account's credentials.

    Returns:
        The namespace of the context, or of the pod.

    Raises:
        InputError: There are no credentials, or they cannot be read.
    """
    errors: list[str] = []  # of plug-ins, which the library logs only
    handler = logging.Handler()
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore
    logging.getLogger().addHandler(handler)
    try:
        config.load_kube_config(context=context)
        if errors:
            raise ConfigException(errors[-1])
        merged = kube_config.KubeConfigMerger(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
        loader = kube_config.KubeConfigLoader(merged.config, active_context=context)
        found = loader.current_context["context"].get("namespace")
        return str(found or "default")
    except Exception as error:  # a file may be wrong in any way
        is_missing = isinstance(error, ConfigException) and not errors
        if is_missing and not context and _NAMESPACE.exists():
            config.load_incluster_config()
            return _NAMESPACE.read_text()
        problem = one_line(str(error)) or type(error).__name__
        raise InputError(
            f"no cluster configured: {problem}; set KUBECONFIG or --context"
        ) from None
    finally:
        logging.getLogger().removeHandler(handler)
