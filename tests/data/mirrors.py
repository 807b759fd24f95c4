"""A server on 127.0.0.1 that imitates a working mirror and many broken ones."""

from __future__ import annotations

import gzip
import http.server
import signal
import socket
import threading

from tests.data.idx_files import Files


class Mirrors:
    """Serves files as .../<behaviour>/<name>.

    Attributes:
        requests: path of each request.
        release: ends the waiting of slow mirrors.
    """

    def __init__(self, files: Files) -> None:
        """Starts the server."""
        self.requests: list[str] = []
        self.release = threading.Event()
        # Bound, but not listening: connections to it are refused.
        self._refusing = socket.socket()
        self._refusing.bind(("127.0.0.1", 0))
        mirrors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.requests.append(self.path)
                _, kind, name = self.path.split("/")
                body = files[name]
                if kind == "gone" or (kind == "half" and "images" in name):
                    self.send_error(404)
                    return
                if kind == "mute":
                    mirrors.release.wait(30)
                    return
                if kind == "wrong":
                    body = gzip.compress(b"an error page")
                elif kind == "plain":
                    body = gzip.decompress(body)
                self.send_response(200)
                if kind != "endless":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if kind in ("cut", "interrupt", "drip"):
                    body = body[: len(body) // 2]
                self.wfile.write(body)
                if kind == "interrupt":
                    main = threading.main_thread().ident or 0
                    signal.pthread_kill(main, signal.SIGINT)
                    mirrors.release.wait(30)
                try:
                    while kind == "drip" and not mirrors.release.wait(0.02):
                        self.wfile.write(b"x")
                    while kind == "endless":
                        self.wfile.write(bytes(1 << 16))
                except OSError:
                    pass  # The client has disconnected, as it should.

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        ).start()

    def url(self, kind: str) -> str:
        """Returns the base URL of a mirror with this behaviour."""
        if kind == "malformed":
            return "no-scheme"
        address = self._server.server_address
        if kind == "refused":
            address = self._refusing.getsockname()
        return f"http://127.0.0.1:{address[1]}/{kind}/"

    def close(self) -> None:
        """Stops the server."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._refusing.close()
