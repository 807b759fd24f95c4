"""Operations on jobs, volumes and pods through the API server.

Objects are plain dictionaries, as in the manifests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kubernetes.client.exceptions import ApiException

from distmnist.core.errors import InputError
from launch.submit.k8s import streams
from launch.submit.k8s.connection import (
    CONNECT_SECONDS,
    FAILURES,
    JOBS,
    Connection,
    by_name,
    decode,
    raw,
)
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.owners import Owners
from launch.submit.k8s.pods import selector

_WARNING = "type=Warning"


class Api:
    """The operations of launch/submit_k8s, in one namespace.

    Attributes:
        namespace: Namespace of all objects.
    """

    def __init__(self, context: str | None, namespace: str | None):
        """Connects to the API server; see `Connection`."""
        self._connection = Connection(context, namespace)
        self.namespace = self._connection.namespace
        self._owners = Owners(self._connection)

    def available_kind(self, kinds: Sequence[str]) -> str | None:
        """Returns the first of some kinds of job, as in `--kind`, that the cluster has.

        None if it has none of them.
        """
        listed = self._connection.retried(
            lambda: decode(self._connection.apis.get_api_versions(**raw()))
        )
        found = {
            version["groupVersion"]
            for group in listed["groups"]
            for version in group["versions"]
        }
        places = {kind.lower(): place for kind, place in JOBS.items()}
        for kind in kinds:
            group, version, _ = places[kind]
            if f"{group}/{version}" in found:
                return kind
        return None

    # --- Jobs.

    def create(self, thing: Object) -> Object:
        """Creates a job or a PersistentVolumeClaim unless its name is in use.

        Args:
            thing: Object to create.

        Returns:
            The object of that name: it may be another's, or this one, of which the
            first response was lost.

        Raises:
            InputError: The cluster rejects it.
        """

        def attempt() -> Object:
            try:
                self._create(thing)
            except ApiException as error:
                if not _exists(error):
                    raise
            name = thing["metadata"]["name"]
            return self._connection.read(thing["kind"], name)

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
                if not _exists(error):
                    raise

        self._connection.retried(attempt)

    def _create(self, thing: Object, **how: str) -> None:
        if thing["kind"] == "PersistentVolumeClaim":
            create = self._connection.core.create_namespaced_persistent_volume_claim
            create(self.namespace, thing, **how, _request_timeout=CONNECT_SECONDS)
        else:
            self._connection.custom.create_namespaced_custom_object(
                *self._connection.place(thing["kind"]),
                thing,
                field_validation="Strict",
                **how,
                _request_timeout=CONNECT_SECONDS,
            )

    def require_claim(self, name: str) -> None:
        """Raises InputError if no PersistentVolumeClaim has this name."""
        self._connection.retried(
            lambda: self._connection.read("PersistentVolumeClaim", name)
        )

    def has_claim(self, name: str) -> bool:
        """Returns whether a PersistentVolumeClaim of this name can be seen."""

        def attempt() -> bool:
            try:
                self._connection.read("PersistentVolumeClaim", name)
            except ApiException as error:
                if error.status not in (403, 404):
                    raise
                return False
            return True

        return self._connection.retried(attempt)

    def find_job(self, name: str) -> Object:
        """Returns the job of a name, of any kind.

        Raises:
            InputError: There is none, or none that may be read.
        """
        job, hidden = self.look_for_job(name)
        if job:
            return job
        if len(hidden) == len(JOBS):
            raise InputError(
                f"forbidden: request permission to read jobs in namespace "
                f"{self.namespace}, or set another --namespace"
            )
        unread = f" ({' and '.join(hidden)} may not be read)" if hidden else ""
        raise InputError(f"no job {name} in namespace {self.namespace}{unread}")

    def look_for_job(self, name: str) -> tuple[Object | None, list[str]]:
        """Returns the job of a name, and the kinds that may not be read."""
        hidden: list[str] = []

        def attempt() -> Object | None:
            hidden.clear()
            for kind in JOBS:
                try:
                    return self._connection.read(kind, name)
                except ApiException as error:
                    if error.status == 403:
                        hidden.append(f"{kind}s")
                    elif error.status != 404:
                        raise
            return None

        return self._connection.retried(attempt), hidden

    def delete_job(self, job: Object) -> None:
        """Deletes a job and its pods; does nothing if it does not exist."""

        def attempt() -> None:
            metadata = job["metadata"]
            options: dict[str, Any] = {"propagationPolicy": "Background"}
            if "uid" in metadata:  # a later job may have the same name
                options["preconditions"] = {"uid": metadata["uid"]}
            try:
                self._connection.custom.delete_namespaced_custom_object(
                    *self._connection.place(job["kind"]),
                    metadata["name"],
                    body=options,
                    _request_timeout=CONNECT_SECONDS,
                )
            except ApiException as error:
                if error.status not in (404, 409):
                    raise

        self._connection.retried(attempt)

    # --- State and logs.

    def pods(self, job: Object) -> dict[str, Object]:
        """Returns the pods of a job, by name."""
        pods = self._connection.core.list_namespaced_pod
        listed = self._connection.retried(
            lambda: by_name(
                decode(pods(self.namespace, label_selector=selector(job), **raw()))
            ),
            math.inf,
        )
        return self._owners.pods(job, listed)

    def watch_pods(self, job: Object) -> Iterator[dict[str, Object] | None]:
        """Watches the pods of a job; see `streams.watch_objects`."""
        for pods in streams.watch_objects(
            self._connection,
            self._connection.core.list_namespaced_pod,
            self.namespace,
            label_selector=selector(job),
        ):
            yield None if pods is None else self._owners.pods(job, pods)

    def warnings(self) -> dict[str, Object]:
        """Returns the warning events of the namespace, by name; {} if not permitted."""
        events = self._connection.core.list_namespaced_event
        try:
            return self._connection.retried(
                lambda: by_name(
                    decode(events(self.namespace, field_selector=_WARNING, **raw()))
                )
            )
        except InputError:
            return {}

    def watch_warnings(self) -> Iterator[dict[str, Object] | None]:
        """Watches the warning events of the namespace; see `streams.watch_objects`."""
        return streams.watch_objects(
            self._connection,
            self._connection.core.list_namespaced_event,
            self.namespace,
            field_selector=_WARNING,
        )

    def watch_job(self, job: Object) -> Iterator[dict[str, Object] | None]:
        """Watches one job; see `streams.watch_objects`."""
        # The items of a list have no kind, unless it is a custom resource's.
        kind = {key: job[key] for key in ("apiVersion", "kind")}
        for jobs in streams.watch_objects(
            self._connection,
            self._connection.custom.list_namespaced_custom_object,
            *self._connection.place(job["kind"]),
            field_selector=f"metadata.name={job['metadata']['name']}",
        ):
            yield jobs and {name: {**found, **kind} for name, found in jobs.items()}

    def log(self, pod: str, container: str, ended: Callable[[], bool]) -> Iterator[str]:
        """Follows the log of a container until it ends; see `streams.read_log`."""
        return streams.read_log(self._connection, pod, container, ended)

    def tail(self, pod: str, container: str, lines: int) -> list[str]:
        """Returns the last lines of the log of a container; [] if it is unavailable."""
        try:
            response = self._connection.core.read_namespaced_pod_log(
                pod, self.namespace, container=container, tail_lines=lines, **raw()
            )
        except FAILURES:
            return []
        text: str = response.data.decode(errors="replace")
        return text.splitlines()


def _exists(error: ApiException) -> bool:
    """Returns whether an object was not created because its name is in use."""
    return bool(error.status == 409 and "exceeded quota" not in str(error.body))
