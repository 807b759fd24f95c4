"""Downloads gzipped files from mirrors, verified by the SHA-256 of their content.

Own code, because pooch and similar libraries verify the compressed file, whose bytes
differ between mirrors, take one URL per file, and set no limit on the time of a name
lookup or of the whole transfer.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import queue
import threading
import time
import urllib.request
import zlib
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from absl import logging

from distmnist.core.whole_files import whole_file
from distmnist.distributed.watchdog import watchdog

ANSWER_SECONDS = 5.0  # name lookup, connection and response header together
STALL_SECONDS = 10.0  # without receiving a byte
TOTAL_SECONDS = 600.0  # one file from one mirror
MAX_BYTES = 64 << 20  # compressed size of one file


def fetch(filename: str, sha256: str, mirrors: Sequence[str]) -> bytes | None:
    """Downloads a gzipped file into memory, trying one mirror after another.

    Nothing is written to disk, so nothing needs cleaning up after an interruption.

    Args:
        filename: name of the file on every mirror.
        sha256: SHA-256 of the decompressed content, in hex.
        mirrors: base URLs, with or without a trailing slash.

    Returns:
        The verified bytes, still compressed; None if no mirror delivered them.
    """
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{filename}"
        try:
            data = _get(url, filename)
            found = _content_sha256(data)
            if found != sha256:
                raise ValueError(f"unexpected content (SHA-256 {found})")
        # A malformed URL or header raises ValueError too.
        except (OSError, HTTPException, EOFError, zlib.error, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            logging.warning("Mirror failed: %s: %s", url, reason)
        else:
            logging.info("Downloaded %s", url)
            return data
    return None


def write(path: Path, data: bytes) -> None:
    """Writes a file atomically, creating its parent directories.

    Args:
        path: the file.
        data: its content.

    Raises:
        OSError: it could not be written; no file or directory is left behind.
    """
    created = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as hidden:
            hidden.write_bytes(data)
    except BaseException:  # including KeyboardInterrupt
        with contextlib.suppress(OSError):
            for directory in created:
                directory.rmdir()
        raise


def _get(url: str, title: str) -> bytes:
    """Downloads `url`, with a progress bar on a terminal."""
    from tqdm import tqdm

    deadline = time.monotonic() + TOTAL_SECONDS
    data = bytearray()
    with _open(url) as answer:
        length = answer.headers.get("Content-Length")
        with tqdm(
            desc=title,
            total=int(length) if length else None,
            unit="B",
            unit_scale=True,
            disable=None,  # unless standard error is a terminal
        ) as bar:
            # read1 instead of read, which blocks until its buffer is full and so
            # delays the check of the deadline.
            while chunk := answer.read1(1 << 16):
                data += chunk
                bar.update(len(chunk))
                watchdog.beat()
                if len(data) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not finished after {TOTAL_SECONDS:g} s")
    return bytes(data)


def _open(url: str) -> HTTPResponse:
    """Opens `url`; raises TimeoutError after ANSWER_SECONDS.

    urlopen's own timeout applies to each of a host's addresses in turn (Google has
    sixteen), and not at all to the name lookup: behind a firewall that drops packets it
    would block for minutes. Hence the thread; an abandoned one ends by itself, or with
    the process.
    """
    answers: queue.SimpleQueue[HTTPResponse | BaseException] = queue.SimpleQueue()

    def request() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _content_sha256(data: bytes) -> str:
    """Returns the SHA-256 of decompressed `data`, without storing all of it."""
    sha256 = hashlib.sha256()
    with gzip.open(io.BytesIO(data)) as stream:
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
    return sha256.hexdigest()
