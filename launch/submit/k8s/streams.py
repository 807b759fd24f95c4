"""Streams of the API server that survive lost connections: watches and logs."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import watch

from launch.submit.k8s.connection import (
    CONNECT_SECONDS,
    FAILURES,
    Connection,
    by_name,
    decode,
    pause,
    raw,
)
from launch.submit.k8s.manifests import Object

# Duration of a watch; also how long a log may be silent before it is reopened.
_STREAM_SECONDS = 60


def watch_objects(
    connection: Connection, list_objects: Any, *where: str, **selector: str
) -> Iterator[dict[str, Object] | None]:
    """Watches objects without end.

    Args:
        connection: API server.
        list_objects: List method of the client.
        where: Positional arguments of the method.
        selector: Keyword arguments of the method, which select the objects.

    Yields:
        All objects by name, at the start and after each change; None each time that the
        server is unreachable.

    Raises:
        InputError: The server rejects the request.
    """
    objects: dict[str, Object] | None = None
    version = ""
    while True:
        try:
            if objects is None:
                listed = decode(list_objects(*where, **selector, **raw()))
                version = listed["metadata"]["resourceVersion"]
                objects = by_name(listed)
                yield dict(objects)
            # "object", because typed classes reject unknown values of newer servers.
            stream = watch.Watch("object").stream(
                list_objects,
                *where,
                **selector,
                resource_version=version,
                timeout_seconds=_STREAM_SECONDS,
                _request_timeout=(CONNECT_SECONDS, _STREAM_SECONDS + CONNECT_SECONDS),
            )
            for event in stream:
                thing = event["raw_object"]
                version = thing["metadata"]["resourceVersion"]
                objects[thing["metadata"]["name"]] = thing
                if event["type"] == "DELETED":
                    del objects[thing["metadata"]["name"]]
                yield dict(objects)
        except FAILURES as error:
            # Listing again shows that the server is back, before anything changes.
            objects = None
            if getattr(error, "status", 0) != 410:  # the version is too old
                connection.endure(error)
                yield None
                pause()


def read_log(
    connection: Connection, pod: str, container: str, ended: Callable[[], bool]
) -> Iterator[str]:
    """Follows the log of a container until it ends.

    Args:
        connection: API server.
        pod: Name of the pod.
        container: Name of the container.
        ended: Returns whether the container has ended.

    Yields:
        Each line once, without its line end.

    Raises:
        InputError: The server rejects the request.
    """
    # The server resumes a log at a whole second. The lines of the last second are kept,
    # with their timestamps in nanoseconds, to skip those that were read before.
    since = ""
    seen: collections.Counter[str] = collections.Counter()
    while True:
        complete = ended()
        again = seen.copy()
        try:
            for line in _open_log(connection, pod, container, since, not complete):
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
        except FAILURES as error:
            status = getattr(error, "status", 0)
            if status == 404:  # the pod was deleted
                return
            if status != 400:  # its container does not run yet
                connection.endure(error)
        pause()


def _open_log(
    connection: Connection, pod: str, container: str, since: str, follow: bool
) -> Iterator[str]:
    """Yields complete lines with their timestamps, starting at a second."""
    # `read_namespaced_pod_log` lacks sinceTime.
    response = connection.core.api_client.call_api(
        f"/api/v1/namespaces/{connection.namespace}/pods/{pod}/log",
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
        _request_timeout=(CONNECT_SECONDS, _STREAM_SECONDS),
    )
    rest = b""
    try:
        for chunk in response.stream(None):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
    finally:
        response.close()
    if rest and not follow:  # a last line without a line end
        yield rest.decode(errors="replace")
