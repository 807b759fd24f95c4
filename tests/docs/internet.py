"""An HTTPS proxy that answers for the mirrors of MNIST: a network, to the programs.

It ends the TLS connections itself, with a certificate that clients trust by
SSL_CERT_FILE, so that the default mirrors are downloaded from.
"""

from __future__ import annotations

import contextlib
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from distmnist.data.sources.mnist import DEFAULT_MIRRORS


@contextlib.contextmanager
def serve(files: Path, directory: Path) -> Iterator[dict[str, str]]:
    """Serves the files under the URLs of the mirrors.

    Args:
        files: directory of the files.
        directory: where the certificate is written.

    Yields:
        The environment variables by which programs use the proxy.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    names = ",".join(f"DNS:{urlsplit(url).hostname}" for url in DEFAULT_MIRRORS)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=mirrors", "-addext", f"subjectAltName={names}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.connection = tls.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", buffering=0)
            self.handle_one_request()

        def translate_path(self, path: str) -> str:
            return str(files / Path(path).name)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"https_proxy": proxy, "SSL_CERT_FILE": str(certificate)}
    finally:
        server.shutdown()
        server.server_close()
