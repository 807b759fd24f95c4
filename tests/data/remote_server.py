"""A server on 127.0.0.1 of the files of a directory, with faults as it is told."""

from __future__ import annotations

import http.server
import socket
import threading
from pathlib import Path


class RemoteServer:
    """Serves a directory, as a context manager.

    Attributes:
        requests: name of the file of each request.
        faults: what becomes of requests, by name of the file; the next request has the
            first of its faults. See `Handler` for their names.
        release: ends what waits.
    """

    def __init__(self, directory: Path, faults: dict[str, list[str]] | None = None):
        """Starts the server."""
        self.requests: list[str] = []
        self.faults = faults or {}
        self.release = threading.Event()
        # Bound, but not listening: connections to it are refused.
        self._refusing = socket.socket()
        self._refusing.bind(("127.0.0.1", 0))
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.requests.append(name)
                faults = server.faults.get(name, [])
                fault = faults.pop(0) if faults else ""
                path = directory / name
                if fault.isdigit() or not path.is_file():
                    self.send_error(int(fault or 404))
                    return
                body = path.read_bytes()
                if fault == "page":
                    body = b"<!DOCTYPE html><title>Sign in</title>"
                elif fault == "short":
                    body = body[:-1]
                elif fault == "flipped":
                    middle = len(body) // 2
                    body = (
                        body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
                    )
                elif fault == "mute":
                    server.release.wait(30)
                    return
                elif fault == "elsewhere":
                    self.send_response(302)
                    self.send_header("Location", f"/no/{name}?signature=SECRET")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    server.faults.setdefault(f"{name}?signature=SECRET", []).append(
                        "403"
                    )
                    return
                self.send_response(200)
                if fault == "endless":
                    self.send_header("Connection", "close")
                else:
                    length = len(body) + (fault == "wrong length")
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                if fault in ("cut", "stalled", "dripping"):
                    body = body[: len(body) // 2]
                try:
                    self.wfile.write(body)
                    self.wfile.flush()
                    if fault == "stalled":
                        server.release.wait(30)
                    while fault == "dripping" and not server.release.wait(0.5):
                        self.wfile.write(b"x")
                    while fault == "endless" and not server.release.is_set():
                        self.wfile.write(bytes(1 << 16))
                except OSError:
                    pass  # the client has left, as it should
                if fault:
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        run = self._server.serve_forever
        threading.Thread(target=run, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/data"
        self.refused = f"http://127.0.0.1:{self._refusing.getsockname()[1]}/data"

    def __enter__(self) -> RemoteServer:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the server."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._refusing.close()
