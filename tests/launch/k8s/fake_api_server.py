"""A fake Kubernetes API server for the tests of launch/submit_k8s.

It implements the requests of the program over HTTP (objects, watches and logs) and
injects faults on request. It has no controllers: tests act as the MPI Operator and the
kubelet, with `put` and `write_log`.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

PLURALS = {
    "mpijobs": "/apis/kubeflow.org/v2beta1",
    "jobs": "/apis/batch/v1",
    "pods": "/api/v1",
    "events": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
}


class FakeApiServer:
    """The server, as a context manager.

    Attributes:
        requests: "METHOD path" of each request, in order.
        refuse: Responses to inject: "METHOD plural" -> (status, body).
        drop_watches_after: Number of events after which a watch is cut off; None for
            never.
        drop_logs_after: Number of lines after which a log is cut off, once; None for
            never.
        expire_watches: Whether to answer the next watch with 410 Gone.
        lose_response: Requests ("METHOD plural") that are executed but not answered,
            once.
        dropped: Number of connections that were cut off.
        kinds: Groups and versions that the cluster has.
        controller: Called with each job that is created, before the response.
    """

    def __init__(self) -> None:
        """Creates a server without objects."""
        self.requests: list[str] = []
        self.refuse: dict[str, tuple[int, Any]] = {}
        self.drop_watches_after: int | None = None
        self.drop_logs_after: int | None = None
        self.expire_watches = False
        self.lose_response: set[str] = set()
        self.dropped = 0
        self.kinds = ["batch/v1", "kubeflow.org/v2beta1"]
        self.controller: Callable[[Object], object] = lambda job: None
        self._changed = threading.Condition()
        self._version = 100
        self._generation = 0  # of connections
        self._objects: dict[tuple[str, str], Object] = {}
        self._events: list[tuple[int, str, str, Object]] = []
        self._logs: dict[str, list[tuple[str, str]]] = {}
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> FakeApiServer:
        """Starts the server."""
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the server."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def write_kubeconfig(self, path: Path, namespace: str = "team") -> None:
        """Writes a kubeconfig for this server."""
        assert self._server is not None
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        context = {"cluster": "fake", "user": "me", "namespace": namespace}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [{"name": "fake", "context": context}],
        }
        path.write_text(yaml.safe_dump(kubeconfig))

    # --- Called by tests, which act as the controllers.

    def put(self, plural: str, thing: Object) -> None:
        """Creates or replaces an object, and notifies the watches."""
        with self._changed:
            name = thing["metadata"]["name"]
            kind = "MODIFIED" if (plural, name) in self._objects else "ADDED"
            self._store(kind, plural, thing)

    def get(self, plural: str, name: str) -> Object | None:
        """Returns a copy of an object; None if it does not exist."""
        with self._changed:
            found = self._objects.get((plural, name))
            return found and json.loads(json.dumps(found))

    def wait_for(self, plural: str, name: str) -> Object:
        """Waits until the program has created an object, and returns it."""
        end = time.monotonic() + 20
        while (found := self.get(plural, name)) is None:
            assert time.monotonic() < end, f"no {plural} {name}: {self.requests}"
            time.sleep(0.02)
        return found

    def remove(self, plural: str, name: str) -> None:
        """Deletes an object, and notifies the watches."""
        with self._changed:
            self._store("DELETED", plural, self._objects[plural, name])

    def drop_all(self) -> None:
        """Cuts off all watches and logs."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def write_log(self, pod: str, *lines: str) -> None:
        """Appends lines to the log of a pod."""
        with self._changed:
            for line in lines:
                # Consecutive lines may have the same timestamp.
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime())
                self._logs.setdefault(pod, []).append((stamp, line))
            self._changed.notify_all()

    # --- Called by requests that hold the lock.

    def _store(self, event: str, plural: str, thing: Object) -> None:
        self._version += 1
        thing = json.loads(json.dumps(thing))
        thing["metadata"]["resourceVersion"] = str(self._version)
        thing["metadata"].setdefault("namespace", "team")
        # One second later with each object.
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._version))
        thing["metadata"]["creationTimestamp"] = (
            thing["metadata"].get("creationTimestamp") or now
        )
        name = thing["metadata"]["name"]
        before = self._objects.get((plural, name), thing)
        uid = before["metadata"].get("uid", f"uid-{self._version}")
        thing["metadata"]["uid"] = uid
        if plural == "events":
            thing.setdefault("lastTimestamp", now)
        if plural == "pods":
            thing["metadata"].setdefault("ownerReferences", self._owners(thing))
        if event == "DELETED":
            self._objects.pop((plural, name), None)
        else:
            self._objects[plural, name] = thing
        self._events.append((self._version, event, plural, thing))
        self._changed.notify_all()

    def _owners(self, pod: Object) -> list[Object]:
        """Returns the references to the job that a pod's label names."""
        name = pod["metadata"]["labels"].get("app.kubernetes.io/instance")
        jobs = (self._objects.get((plural, name)) for plural in ("mpijobs", "jobs"))
        return [
            {"kind": job["kind"], "name": name, "uid": job["metadata"]["uid"]}
            for job in jobs
            if job
        ]


# As the real server names them; see recorded_answers.json.
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
    422: "Invalid",
}


def status(code: int, message: str, name: str | None = "distmnist") -> Object:
    """Returns the body of an error response, in the format of the real server."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, f"Reason{code}"),
        "details": {"name": name} if name else {},
        "code": code,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Logs nothing: clients may disconnect during a response."""


class _Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    api: FakeApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Logs nothing."""

    def do_GET(self) -> None:
        """Reads an object or a log, lists or watches objects."""
        if urllib.parse.urlsplit(self.path).path == "/apis/":
            versions = [{"versions": [{"groupVersion": k}]} for k in self.api.kinds]
            self._respond(200, {"groups": versions})
            return
        if not (route := self._route()):
            return
        plural, name, query = route
        if name.endswith("/log"):
            self._log(name.removesuffix("/log"), query)
        elif name:
            with self.api._changed:
                found = self.api._objects.get((plural, name))
            if found:
                self._respond(200, found)
            else:
                message = f'{plural} "{name}" not found'
                self._respond(404, status(404, message, name))
        elif "watch" in query:
            self._watch(plural, query)
        else:
            with self.api._changed:
                objects, version = dict(self.api._objects), self.api._version
            # Only custom resources have their kind in a list.
            left_out = () if "kubeflow" in PLURALS[plural] else ("apiVersion", "kind")
            items = [
                {key: value for key, value in thing.items() if key not in left_out}
                for (kind, _), thing in objects.items()
                if kind == plural and _selected(thing, query)
            ]
            metadata = {"resourceVersion": str(version)}
            listed = {"kind": "List", "metadata": metadata, "items": items}
            self._respond(200, {"apiVersion": "v1", **listed})

    def do_POST(self) -> None:
        """Creates an object."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not (route := self._route()):
            return
        plural, _, query = route
        name = body["metadata"]["name"]
        with self.api._changed:
            exists = (plural, name) in self.api._objects
            if not exists and "dryRun" not in query:
                self.api._store("ADDED", plural, body)
        if not exists and "dryRun" not in query and plural.endswith("jobs"):
            self.api.controller(body)
        if exists:
            self._respond(409, status(409, f'{plural} "{name}" already exists', name))
        elif f"POST {plural}" in self.api.lose_response and "dryRun" not in query:
            self.api.lose_response.remove(f"POST {plural}")
            self._cut()
        else:
            self._respond(201, body)

    def do_DELETE(self) -> None:
        """Deletes an object."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not (route := self._route()):
            return
        plural, name, _ = route
        if self.api.get(plural, name):
            self.api.remove(plural, name)
            self._respond(200, {"kind": "Status", "status": "Success"})
        else:
            self._respond(404, status(404, f'{plural} "{name}" not found', name))

    def _route(self) -> tuple[str, str, dict[str, str]] | None:
        """Returns plural, name and query; None if a response was injected."""
        url = urllib.parse.urlsplit(self.path)
        self.api.requests.append(f"{self.command} {self.path}")
        prefix, _, rest = url.path.partition("/namespaces/team/")
        plural, _, name = rest.partition("/")
        refusal = self.api.refuse.get(f"{self.command} {plural}")
        if self.headers.get("Authorization") != "Bearer secret":
            refusal = (401, status(401, "Unauthorized", None))
        if PLURALS.get(plural) != prefix:
            refusal = (404, "404 page not found\n")
        if refusal:
            self._respond(*refusal)
            return None
        return plural, name, dict(urllib.parse.parse_qsl(url.query))

    def _respond(self, code: int, body: Any) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode(
            errors="surrogateescape"
        )
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, plural: str, query: dict[str, str]) -> None:
        if self.api.expire_watches:
            self.api.expire_watches = False
            gone = {"type": "ERROR", "object": status(410, "too old", None)}
            self._stream()
            self._send(gone)
            self._send(b"")
            return
        seen = int(query["resourceVersion"])
        end = time.monotonic() + float(query.get("timeoutSeconds", 60))
        self._stream()
        sent, generation = 0, self.api._generation
        while time.monotonic() < end:
            if generation != self.api._generation:
                self._cut()
                return
            with self.api._changed:
                new = [event for event in self.api._events if event[0] > seen]
                if not new:
                    self.api._changed.wait(0.2)
                    continue
            for version, kind, about, thing in new:
                seen = version
                if about != plural or not _selected(thing, query):
                    continue
                if not self._send({"type": kind, "object": thing}):
                    return
                sent += 1
                if sent == self.api.drop_watches_after:
                    # Cut off within the next event.
                    self._send(b'{"type": "MODIFIED", "object": {"metada')
                    self._cut()
                    return
        self._send(b"")

    def _log(self, pod: str, query: dict[str, str]) -> None:
        """Sends a log, and follows it until the pod has ended."""
        since = query.get("sinceTime", "").rstrip("Z")
        self._stream()
        sent, generation = 0, self.api._generation
        while True:
            if generation != self.api._generation:
                self._cut()
                return
            with self.api._changed:
                lines = self.api._logs.get(pod, [])
                found = self.api._objects.get(("pods", pod))
                phase = found["status"]["phase"] if found else "Failed"
                over = "follow" not in query or phase in ("Succeeded", "Failed")
                if not lines[sent:] and not over:
                    self.api._changed.wait(0.2)
                    continue
                new = lines[sent:]
            for stamp, line in new:
                sent += 1
                if since and stamp[:19] < since:
                    continue
                timed = "timestamps" in query
                whole = f"{stamp} {line}\n" if timed else f"{line}\n"
                if sent == self.api.drop_logs_after and "follow" in query:
                    self.api.drop_logs_after = None
                    self._send(whole[: len(whole) // 2].encode())
                    self._cut()
                    return
                if not self._send(whole.encode(errors="surrogateescape")):
                    return
            if over and not new:
                break
        self._send(b"")

    def _stream(self) -> None:
        """Starts a chunked response."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, chunk: bytes | Object) -> bool:
        """Sends a chunk, empty for the last one; returns whether it succeeded."""
        if isinstance(chunk, dict):
            chunk = json.dumps(chunk).encode() + b"\n"
        try:
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        except OSError:
            return False
        return True

    def _cut(self) -> None:
        """Drops the connection."""
        self.api.dropped += 1
        self.close_connection = True
        self.connection.shutdown(2)


def _selected(thing: Object, query: dict[str, str]) -> bool:
    labels = thing["metadata"].get("labels", {})
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = pair.partition("=")
        if labels.get(key) != value:
            return False
    field, _, value = query.get("fieldSelector", "").partition("=")
    if field == "metadata.name":
        return bool(thing["metadata"]["name"] == value)
    return field != "type" or thing.get("type") == value
