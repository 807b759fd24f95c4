"""Operations on jobs, volumes and pods through the API server.

Objects are plain dictionaries, as in the manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubernetes.client.exceptions import ApiException

from distmnist.core.errors import InputError
from launch.submit.k8s import streams
from launch.submit.k8s.connection import (
    CONNECT_SECONDS,
    CONNECTION_ERRORS,
    Connection,
    by_name,
    decode,
    raw,
)
from launch.submit.k8s.manifests import Object

# Group, version and plural name of each kind of job.
_JOBS = {
    "MPIJob": ("kubeflow.org", "v2beta1", "mpijobs"),
    "Job": ("batch", "v1", "jobs"),
}


class Api:
    """The operations of launch/submit_k8s, in one namespace.

    Attributes:
        namespace: Namespace of all objects.
    """

    def __init__(self, context: str | None, namespace: str | None):
        """Connects to the API server; see `Connection`."""
        self._connection = Connection(context, namespace)
        self.namespace = self._connection.namespace

    # --- Jobs.

    def create(self, thing: Object, is_own: Callable[[Object], bool]) -> bool:
        """Creates a job or a PersistentVolumeClaim unless its name is in use.

        Args:
            thing: Object to create.
            is_own: Returns whether an existing object is the one to create: a creation
                may succeed although its response is lost.

        Returns:
            Whether it was created.

        Raises:
            InputError: The cluster rejects it.
        """

        def attempt() -> bool:
            try:
                self._create(thing)
            except ApiException as error:
                if error.status != 409 or "exceeded quota" in str(error.body):
                    raise
                return is_own(self._read(thing["kind"], thing["metadata"]["name"]))
            return True

        return self._connection.retried(attempt)

    def check(self, thing: Object) -> None:
        """Validates an object in a server-side dry run.

        Args:
            thing: Object to validate; its name may be in use.

        Raises:
            InputError: The cluster rejects it.
        """

        def attempt() -> None:
            try:
                self._create(thing, dry_run="All")
            except ApiException as error:
                if error.status != 409 or "exceeded quota" in str(error.body):
                    raise

        self._connection.retried(attempt)

    def _create(self, thing: Object, **how: str) -> None:
        if thing["kind"] == "PersistentVolumeClaim":
            create = self._connection.core.create_namespaced_persistent_volume_claim
            create(self.namespace, thing, **how, _request_timeout=CONNECT_SECONDS)
        else:
            group, version, plural = _JOBS[thing["kind"]]
            self._connection.custom.create_namespaced_custom_object(
                group,
                version,
                self.namespace,
                plural,
                thing,
                field_validation="Strict",
                **how,
                _request_timeout=CONNECT_SECONDS,
            )

    def _read(self, kind: str, name: str) -> Object:
        if kind == "PersistentVolumeClaim":
            read = self._connection.core.read_namespaced_persistent_volume_claim
            return decode(read(name, self.namespace, **raw()))
        group, version, plural = _JOBS[kind]
        get = self._connection.custom.get_namespaced_custom_object
        return decode(get(group, version, self.namespace, plural, name, **raw()))

    def require_claim(self, name: str) -> None:
        """Raises InputError if no PersistentVolumeClaim has this name."""
        self._connection.retried(lambda: self._read("PersistentVolumeClaim", name))

    def find_job(self, name: str) -> Object:
        """Returns the Job or MPIJob of a name.

        Raises:
            InputError: There is none.
        """

        def attempt() -> Object:
            for kind in _JOBS:
                try:
                    return self._read(kind, name)
                except ApiException as error:
                    if error.status != 404:
                        raise
            raise InputError(f"no job {name} in namespace {self.namespace}")

        return self._connection.retried(attempt)

    def delete_job(self, job: Object) -> None:
        """Deletes a job and its pods; does nothing if it does not exist."""
        group, version, plural = _JOBS[job["kind"]]

        def attempt() -> None:
            try:
                self._connection.custom.delete_namespaced_custom_object(
                    group,
                    version,
                    self.namespace,
                    plural,
                    job["metadata"]["name"],
                    propagation_policy="Background",
                    _request_timeout=CONNECT_SECONDS,
                )
            except ApiException as error:
                if error.status != 404:
                    raise

        self._connection.retried(attempt)

    # --- State and logs.

    def pods(self, selector: str) -> dict[str, Object]:
        """Returns the pods of a label selector, by name."""
        pods = self._connection.core.list_namespaced_pod
        return self._connection.retried(
            lambda: by_name(
                decode(pods(self.namespace, label_selector=selector, **raw()))
            )
        )

    def watch_pods(self, selector: str) -> Iterator[dict[str, Object] | None]:
        """Watches the pods of a label selector; see `streams.watch_objects`."""
        return streams.watch_objects(
            self._connection.core.list_namespaced_pod,
            self.namespace,
            label_selector=selector,
        )

    def watch_warnings(self) -> Iterator[dict[str, Object] | None]:
        """Watches the warning events of the namespace; see `streams.watch_objects`."""
        return streams.watch_objects(
            self._connection.core.list_namespaced_event,
            self.namespace,
            field_selector="type=Warning",
        )

    def watch_job(self, job: Object) -> Iterator[dict[str, Object] | None]:
        """Watches one job; see `streams.watch_objects`."""
        group, version, plural = _JOBS[job["kind"]]
        return streams.watch_objects(
            self._connection.custom.list_namespaced_custom_object,
            group,
            version,
            self.namespace,
            plural,
            field_selector=f"metadata.name={job['metadata']['name']}",
        )

    def log(self, pod: str, container: str, ended: Callable[[], bool]) -> Iterator[str]:
        """Follows the log of a container until it ends; see `streams.read_log`."""
        return streams.read_log(self._connection, pod, container, ended)

    def tail(self, pod: str, container: str, lines: int) -> list[str]:
        """Returns the last lines of the log of a container; [] if it is unavailable."""
        try:
            log: str = self._connection.core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                tail_lines=lines,
                _request_timeout=CONNECT_SECONDS,
            )
        except (ApiException, *CONNECTION_ERRORS):
            return []
        return log.splitlines()
