"""Connection to the API server: credentials, retries and one-line errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from distmnist.core.errors import InputError
from launch.submit.k8s.manifests import Object

CONNECT_SECONDS = 10  # timeout

# Raised by the client if the server is unreachable or drops the connection.
CONNECTION_ERRORS = (urllib3.exceptions.HTTPError, OSError)

_RETRY_SECONDS = 1.0
_ATTEMPTS = 5
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

T = TypeVar("T")


class Connection:
    """Connection to the API server, for one namespace.

    Attributes:
        namespace: Namespace of all objects.
        core: Client of the core API.
        custom: Client of custom resources and, as plain dictionaries, of jobs.
    """

    def __init__(self, context: str | None, namespace: str | None):
        """Loads the kubeconfig or, inside a pod, the service account's credentials.

        Args:
            context: Context of the kubeconfig; None for the current one.
            namespace: Namespace; None for that of the context or the pod.

        Raises:
            InputError: There are no credentials.
        """
        try:
            config.load_kube_config(context=context)
        except ConfigException as error:
            if context or not _NAMESPACE.exists():
                raise InputError(
                    f"no cluster configured: {' '.join(str(error).split())}; set "
                    "KUBECONFIG or --context"
                ) from None
            config.load_incluster_config()
        self.namespace = namespace or _default_namespace(context)
        settings = client.Configuration.get_default_copy()
        settings.retries = False  # see `retried`
        self._host = settings.host
        connection = client.ApiClient(settings)
        self.core = client.CoreV1Api(connection)
        self.custom = client.CustomObjectsApi(connection)

    def retried(self, attempt: Callable[[], T]) -> T:
        """Retries an operation while the server is unreachable or overloaded.

        Args:
            attempt: The operation.

        Returns:
            The result of the operation.

        Raises:
            InputError: The server rejects the request, or all attempts failed.
        """
        for i in range(_ATTEMPTS):
            if i:
                pause()
            try:
                return attempt()
            except ApiException as error:
                if not is_transient(error):
                    raise rejection(error) from None
                problem = f"{error.status} {error.reason}"
            except CONNECTION_ERRORS as error:
                problem = str(error).rpartition(": ")[2].strip("()'\" ")
        raise InputError(
            f"no response from the cluster at {self._host} ({problem}): check the "
            "kubeconfig and the network"
        )


def pause() -> None:
    """Waits before the next attempt."""
    time.sleep(_RETRY_SECONDS)


def is_transient(error: ApiException) -> bool:
    """Returns whether a retry may succeed."""
    return error.status == 429 or error.status >= 500 or not error.status


def rejection(error: ApiException) -> InputError:
    """Returns the one-line error for a rejected request."""
    try:
        status = json.loads(error.body)
        message = status.get("message", error.reason)
    except (TypeError, ValueError):  # a path that the server does not know: plain text
        status, message = {}, str(error.body or error.reason).strip()
    message = " ".join(message.split())
    if error.status == 404 and not status.get("details", {}).get("name"):
        return InputError(
            "the cluster has no MPIJob resource: install the MPI Operator "
            "(docs/kubernetes.md), or train with --workers=1, which does not require "
            "it"
        )
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
    decoded: Object = json.loads(response.data)
    return decoded


def by_name(listed: Object) -> dict[str, Object]:
    """Returns the objects of a list by their names."""
    return {item["metadata"]["name"]: item for item in listed["items"]}


def _default_namespace(context: str | None) -> str:
    try:
        contexts, current = config.list_kube_config_contexts()
        if context:
            current = next(each for each in contexts if each["name"] == context)
        return str(current["context"].get("namespace", "default"))
    except ConfigException:  # inside a pod
        return _NAMESPACE.read_text() if _NAMESPACE.exists() else "default"
