"""Logs of containers, and the server from which the API server reads them."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO


class ContainerLog:
    """What a container has printed, each line with its time."""

    def __init__(self) -> None:
        """Creates an empty log."""
        self._changed = threading.Condition()
        self._lines: list[tuple[str, bytes]] = []
        self._ended = False

    def read(self, output: IO[bytes]) -> None:
        """Reads the output of a container until it ends, in the background."""

        def run() -> None:
            for line in output:
                self._add(line)
            with self._changed:
                self._ended = True
                self._changed.notify_all()

        threading.Thread(target=run, daemon=True).start()

    def _add(self, line: bytes) -> None:
        nanoseconds = time.time_ns()
        second = time.gmtime(nanoseconds // 10**9)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", second)
        with self._changed:
            # As written by container runtimes: nanoseconds, of fixed width.
            stamp = f"{stamp}.{nanoseconds % 10**9:09}Z"
            self._lines.append((stamp, line))
            self._changed.notify_all()

    def text(self) -> str:
        """Returns the log so far."""
        with self._changed:
            lines = [line for _, line in self._lines]
        return b"".join(lines).decode(errors="replace")

    def wait(self, seconds: float) -> None:
        """Waits until the log is complete."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    def send(self, query: dict[str, str], write: Callable[[bytes], None]) -> None:
        """Sends the log, as the query of a request wants it.

        Args:
            query: follow, timestamps, sinceTime and tailLines.
            write: called with each line.
        """
        since, sent = query.get("sinceTime", "").rstrip("Z"), 0
        if "tailLines" in query:
            with self._changed:
                sent = max(0, len(self._lines) - int(query["tailLines"]))
        while True:
            with self._changed:
                new, ended = self._lines[sent:], self._ended
                if not new and not ended and query.get("follow") == "true":
                    self._changed.wait(1)
                    continue
            sent += len(new)
            for stamp, line in new:
                if stamp >= since:
                    timed = query.get("timestamps") == "true"
                    write(stamp.encode() + b" " + line if timed else line)
            if query.get("follow") != "true" or (ended and not new):
                return


class LogServer:
    """The kubelet's HTTPS server, as a context manager; it only has logs.

    Attributes:
        port: on the loopback interface.
    """

    def __init__(
        self, directory: Path, find: Callable[[str, str], ContainerLog | None]
    ):
        """Creates a certificate.

        Args:
            directory: to write it to.
            find: returns the log of a pod, by namespace and name.
        """
        key, certificate = directory / "kubelet.key", directory / "kubelet.crt"
        new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        command = ["openssl", *new.split(), "-subj", "/CN=kubelet"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
        handler = type("Handler", (_Handler,), {"find": staticmethod(find)})
        self._server = _Server(("127.0.0.1", 0), handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        # The handshake is left to the thread of the connection.
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> LogServer:
        """Starts serving."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Logs nothing: an API server that was killed breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    find: Callable[[str, str], ContainerLog | None]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Logs nothing."""

    def do_GET(self) -> None:
        """Sends the log at /containerLogs/NAMESPACE/POD/CONTAINER."""
        url = urllib.parse.urlsplit(self.path)
        _, verb, namespace, pod, _ = url.path.split("/")
        log = self.find(namespace, pod) if verb == "containerLogs" else None
        if log is None:
            text = f'pod "{pod}" is waiting to start: ContainerCreating'.encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        log.send(dict(urllib.parse.parse_qsl(url.query)), self._chunk)
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()
