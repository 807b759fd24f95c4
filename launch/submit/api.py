"""The cluster's API server: what goes wrong in one line, and what may be tried again.

The only module that talks to it, through the official client.  Objects are plain
dictionaries, as in the manifests.
"""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from distmnist.core.errors import InputError
from launch.submit.manifests import Object

_JOBS = {
    "MPIJob": ("kubeflow.org", "v2beta1", "mpijobs"),
    "Job": ("batch", "v1", "jobs"),
}
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_CONNECT = 10  # seconds
_WATCH = 60  # seconds of one watch; also the silence after which a log is asked again
_RETRY = 1.0  # seconds between attempts
_ATTEMPTS = 5  # of what the user waits for

T = TypeVar("T")

_LOST = (urllib3.exceptions.HTTPError, OSError)


class Api:
    """The API server, for one namespace.

    Attributes:
        namespace: all objects are in it.
    """

    def __init__(self, context: str | None, namespace: str | None):
        """Reads the kubeconfig, or the credentials of the pod that this runs in.

        Args:
            context: of the kubeconfig; None: the current one.
            namespace: None: that of the context, or of the pod.

        Raises:
            InputError: there are no credentials.
        """
        try:
            config.load_kube_config(context=context)
        except ConfigException as error:
            if context or not _NAMESPACE.exists():
                raise InputError(
                    f"no way to a cluster: {' '.join(str(error).split())}; set "
                    "KUBECONFIG, or give another --context"
                ) from None
            config.load_incluster_config()
        self.namespace = namespace or _default_namespace(context)
        settings = client.Configuration.get_default_copy()
        settings.retries = False  # `_retried` knows better what may be sent again
        self._host = settings.host
        connection = client.ApiClient(settings)
        self._core = client.CoreV1Api(connection)
        self._custom = client.CustomObjectsApi(connection)

    # The job.

    def create(self, thing: Object, mine: Callable[[Object], bool]) -> bool:
        """Creates a job or a volume's claim, if there is none of the name.

        Args:
            thing: the object.
            mine: whether an object that exists is this very one, whose creation
                succeeded though the answer was lost.

        Returns:
            Whether it was created.

        Raises:
            InputError: the cluster refuses it.
        """

        def attempt() -> bool:
            try:
                self._create(thing)
            except ApiException as error:
                if error.status != 409 or "exceeded quota" in str(error.body):
                    raise
                return mine(self._read(thing["kind"], thing["metadata"]["name"]))
            return True

        return self._retried(attempt)

    def check(self, thing: Object) -> None:
        """Lets the cluster check an object, creating nothing.

        Raises:
            InputError: it would refuse the object, but for its name.
        """

        def attempt() -> None:
            try:
                self._create(thing, dry_run="All")
            except ApiException as error:
                if error.status != 409 or "exceeded quota" in str(error.body):
                    raise

        self._retried(attempt)

    def _create(self, thing: Object, **how: str) -> None:
        if thing["kind"] == "PersistentVolumeClaim":
            create = self._core.create_namespaced_persistent_volume_claim
            create(self.namespace, thing, **how, _request_timeout=_CONNECT)
        else:
            group, version, plural = _JOBS[thing["kind"]]
            self._custom.create_namespaced_custom_object(
                group,
                version,
                self.namespace,
                plural,
                thing,
                field_validation="Strict",
                **how,
                _request_timeout=_CONNECT,
            )

    def _read(self, kind: str, name: str) -> Object:
        if kind == "PersistentVolumeClaim":
            read = self._core.read_namespaced_persistent_volume_claim
            return _decoded(read(name, self.namespace, **_raw()))
        group, version, plural = _JOBS[kind]
        get = self._custom.get_namespaced_custom_object
        return _decoded(get(group, version, self.namespace, plural, name, **_raw()))

    def require_claim(self, name: str) -> None:
        """Raises InputError if there is no volume's claim of that name."""
        self._retried(lambda: self._read("PersistentVolumeClaim", name))

    def find_job(self, name: str) -> Object:
        """Returns the job of a name, of either kind.

        Raises:
            InputError: there is none.
        """

        def attempt() -> Object:
            for kind in _JOBS:
                try:
                    return self._read(kind, name)
                except ApiException as error:
                    if error.status != 404:
                        raise
            raise InputError(f"no job {name} in namespace {self.namespace}")

        return self._retried(attempt)

    def delete_job(self, job: Object) -> None:
        """Deletes a job and its pods."""
        group, version, plural = _JOBS[job["kind"]]

        def attempt() -> None:
            try:
                self._custom.delete_namespaced_custom_object(
                    group,
                    version,
                    self.namespace,
                    plural,
                    job["metadata"]["name"],
                    propagation_policy="Background",
                    _request_timeout=_CONNECT,
                )
            except ApiException as error:
                if error.status != 404:
                    raise

        self._retried(attempt)

    # What happens to it.

    def pods(self, selector: str) -> dict[str, Object]:
        """Returns the pods that a label selector names, by name."""
        pods = self._core.list_namespaced_pod
        return self._retried(
            lambda: _by_name(
                _decoded(pods(self.namespace, label_selector=selector, **_raw()))
            )
        )

    def watch_pods(self, selector: str) -> Iterator[dict[str, Object] | None]:
        """Watches the pods that a label selector names; see `_watch`."""
        return self._watch(
            self._core.list_namespaced_pod, self.namespace, label_selector=selector
        )

    def watch_warnings(self) -> Iterator[dict[str, Object] | None]:
        """Watches the namespace's events of type Warning; see `_watch`."""
        return self._watch(
            self._core.list_namespaced_event,
            self.namespace,
            field_selector="type=Warning",
        )

    def watch_job(self, job: Object) -> Iterator[dict[str, Object] | None]:
        """Watches one job; see `_watch`."""
        group, version, plural = _JOBS[job["kind"]]
        return self._watch(
            self._custom.list_namespaced_custom_object,
            group,
            version,
            self.namespace,
            plural,
            field_selector=f"metadata.name={job['metadata']['name']}",
        )

    def _watch(
        self, list_objects: Any, *where: str, **selector: str
    ) -> Iterator[dict[str, Object] | None]:
        """Watches objects, for ever.

        Args:
            list_objects: a method of the client's.
            where: its positional arguments.
            selector: which objects.

        Yields:
            All objects by name, at first and after each change; None each time that
            the server is out of reach.

        Raises:
            InputError: it refuses.
        """
        objects: dict[str, Object] | None = None
        version = ""
        while True:
            try:
                if objects is None:
                    listed = _decoded(list_objects(*where, **selector, **_raw()))
                    version = listed["metadata"]["resourceVersion"]
                    objects = _by_name(listed)
                    yield dict(objects)
                # Its own classes refuse what a server newer than them says.
                stream = watch.Watch("object").stream(
                    list_objects,
                    *where,
                    **selector,
                    resource_version=version,
                    timeout_seconds=_WATCH,
                    _request_timeout=(_CONNECT, _WATCH + _CONNECT),
                )
                for event in stream:
                    thing = event["raw_object"]
                    version = thing["metadata"]["resourceVersion"]
                    objects[thing["metadata"]["name"]] = thing
                    if event["type"] == "DELETED":
                        del objects[thing["metadata"]["name"]]
                    yield dict(objects)
            except ApiException as error:
                if error.status == 410:  # that version is too old: begin again
                    objects = None
                elif not _passing(error):
                    raise self._refusal(error) from None
                else:
                    yield None
                    time.sleep(_RETRY)
            except _LOST:
                yield None
                time.sleep(_RETRY)

    def log(self, pod: str, container: str, ended: Callable[[], bool]) -> Iterator[str]:
        """Reads a container's log to its end; each line once, whatever happens.

        Args:
            pod: its name.
            container: its name.
            ended: whether the container has ended.

        Yields:
            The lines, without their line ends.
        """
        # The server can be asked for what came since a second, so the lines of the last
        # second are remembered, each with its time in nanoseconds.
        since = ""
        seen: collections.Counter[str] = collections.Counter()
        while True:
            complete = ended()
            again = seen.copy()
            try:
                for line in self._log(pod, container, since, follow=not complete):
                    if again[line]:
                        again[line] -= 1
                        continue
                    stamp, _, text = line.partition(" ")
                    if stamp[:19] != since:
                        since = stamp[:19]
                        seen.clear()
                    seen[line] += 1
                    yield text
                if complete:
                    return
            except ApiException as error:
                if error.status == 404:  # the pod is gone
                    return
            except _LOST:
                pass
            time.sleep(_RETRY)

    def _log(self, pod: str, container: str, since: str, follow: bool) -> Iterator[str]:
        """Yields whole lines with their times, from a second on."""
        # `read_namespaced_pod_log` lacks sinceTime.
        response = self._core.api_client.call_api(
            f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log",
            "GET",
            query_params=[
                ("container", container),
                ("timestamps", "true"),
                *([("follow", "true")] if follow else []),
                *([("sinceTime", f"{since}Z")] if since else []),
            ],
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=(_CONNECT, _WATCH),
        )
        rest = b""
        try:
            for chunk in response.stream(None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
        finally:
            response.close()
        if rest and not follow:  # a last line that nobody ended
            yield rest.decode(errors="replace")

    def tail(self, pod: str, container: str, lines: int) -> list[str]:
        """Returns the last lines of a container's log, if it can be had."""
        try:
            log: str = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                tail_lines=lines,
                _request_timeout=_CONNECT,
            )
        except (ApiException, *_LOST):
            return []
        return log.splitlines()

    # Failures.

    def _retried(self, attempt: Callable[[], T]) -> T:
        """Returns what an attempt returns, if one of a few succeeds.

        Raises:
            InputError: the server refuses, or is out of reach.
        """
        for i in range(_ATTEMPTS):
            if i:
                time.sleep(_RETRY)
            try:
                return attempt()
            except ApiException as error:
                if not _passing(error):
                    raise self._refusal(error) from None
                problem = f"{error.status} {error.reason}"
            except _LOST as error:
                problem = str(error).rpartition(": ")[2].strip("()'\" ")
        raise InputError(
            f"no answer from the cluster at {self._host} ({problem}): check the "
            "kubeconfig and the network"
        )

    def _refusal(self, error: ApiException) -> InputError:
        """Returns the line for what the server refused."""
        try:
            status = json.loads(error.body)
            message = status.get("message", error.reason)
        except (TypeError, ValueError):  # a 404 of a path that nobody serves is no JSON
            status, message = {}, str(error.body or error.reason).strip()
        message = " ".join(message.split())
        if error.status == 404 and not status.get("details", {}).get("name"):
            return InputError(
                "the cluster knows no MPIJob: install the MPI Operator (README, "
                '"Kubernetes"), or train with --workers=1, which needs none'
            )
        if "exceeded quota" in message:
            return InputError(f"over the namespace's quota: {message}")
        remedy = {
            401: "the credentials are not accepted: log in to the cluster again",
            403: f"forbidden: ask for the right, or another --namespace: {message}",
            404: f"{message}: create it first",
        }
        return InputError(
            remedy.get(error.status, f"the cluster refuses ({error.status}): {message}")
        )


def _default_namespace(context: str | None) -> str:
    try:
        contexts, current = config.list_kube_config_contexts()
        if context:
            current = next(each for each in contexts if each["name"] == context)
        return str(current["context"].get("namespace", "default"))
    except ConfigException:  # in a pod
        return _NAMESPACE.read_text() if _NAMESPACE.exists() else "default"


def _passing(error: ApiException) -> bool:
    """Returns whether the server may do it another time."""
    return error.status == 429 or error.status >= 500 or not error.status


def _raw() -> dict[str, Any]:
    """Returns how a method of the client's is called for `_decoded`."""
    return {"_preload_content": False, "_request_timeout": _CONNECT}


def _decoded(response: Any) -> Object:
    answer: Object = json.loads(response.data)
    return answer


def _by_name(listed: Object) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in listed["items"]}
