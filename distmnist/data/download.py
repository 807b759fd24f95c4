"""Gets one gzipped file from the first mirror that has it, and puts it in place.

Apart from `distmnist.datasets`, which says what to get, because nothing here
knows of MNIST: a file is a name and the hash of its content.
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
import uuid
import zlib
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from absl import logging

ANSWER_SECONDS = 5.0  # to look the name up, connect, and get the answer's header
STALL_SECONDS = 10.0  # without a byte
TOTAL_SECONDS = 600.0  # for one file from one mirror
MAX_BYTES = 64 << 20  # of one file, compressed


def fetch(filename: str, sha256: str, mirrors: Sequence[str]) -> bytes | None:
    """Downloads a gzipped file into memory, trying one mirror after another.

    Nothing reaches the disk before it is verified, so that there is nothing to
    clean up when the process is interrupted or killed.

    Args:
        filename: the name of the file on every mirror.
        sha256: of the decompressed content, in hex.
        mirrors: base URLs, with or without a slash at the end.

    Returns:
        The verified bytes, still compressed; None where no mirror delivered them.
    """
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{filename}"
        try:
            data = _get(url, filename)
            found = _content_sha256(data)
            if found != sha256:
                raise ValueError(f"other content than expected (SHA-256 {found})")
        # ValueError is also what a malformed URL or header raises.
        except (OSError, HTTPException, EOFError, zlib.error, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            logging.warning("Mirror failed: %s: %s", url, reason)
        else:
            logging.info("Downloaded %s", url)
            return data
    return None


def write(path: Path, data: bytes) -> None:
    """Writes a file, and the directories above it, whole or not at all.

    Raises:
        OSError: it could not be written; everything is as it was.
    """
    created = [parent for parent in path.parents if not os.path.lexists(parent)]
    # Unique across the hosts that may share the directory; the mode follows the
    # umask, which tempfile's would not: other users' jobs read these files too.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # KeyboardInterrupt too
        with contextlib.suppress(OSError):
            temporary.unlink()
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
            disable=None,  # where standard error is not a terminal
        ) as bar:
            # read1, and not read, which would wait for a whole buffer and so keep
            # the deadline from being looked at.
            while chunk := answer.read1(1 << 16):
                data += chunk
                bar.update(len(chunk))
                if len(data) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {TOTAL_SECONDS:g} s")
    return bytes(data)


def _open(url: str) -> HTTPResponse:
    """Opens `url`, or gives up after ANSWER_SECONDS.

    urlopen's own timeout holds for each of a host's addresses in turn (Google has
    sixteen) and not at all for looking its name up, which would keep a machine
    behind a silent firewall waiting for minutes.  Hence the thread; one that is
    given up on ends by itself, or with the process.
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
    """Hashes what `data` decompresses to, without holding all of it."""
    sha256 = hashlib.sha256()
    with gzip.open(io.BytesIO(data)) as stream:
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
    return sha256.hexdigest()
