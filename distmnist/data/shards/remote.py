"""Prepared data sets at a URL, of any protocol that fsspec knows.

A file is downloaded whole, and checked, before anything reads it. Whatever a server
does, the end comes after a limited time, in one line: fsspec downloads on a thread of
its own, which is abandoned if it receives too little.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from distmnist.core import urls, whole_files
from distmnist.core.errors import InputError, RunError, UserError
from distmnist.data.shards import index
from distmnist.data.shards.index import Index, Shard
from distmnist.data.shards.shard_file import ShardFile
from distmnist.distributed.watchdog import watchdog

T = TypeVar("T")

# Waits before a download is tried again, in seconds.
_WAITS = (0.5, 2.0, 8.0)
# An attempt ends if it receives less than so many bytes in so many seconds.
_STALL_BYTES, _STALL_SECONDS = 128 << 10, 30.0
_MOST_INDEX_BYTES = 64 << 20
_OWN = ("http", "https")  # protocols of the extra
_EXTRA = "pip install 'distmnist[remote]'"
_REMEDY = "upload the data set again"
# Errors of the disk that is written to: no attempt changes them.
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_TRANSIENT = (408, 425, 429)  # of the statuses by which a server refuses a request


class Remote:
    """The directory of a prepared data set at a URL."""

    def __init__(self, url: str):
        """Opens no connection.

        Args:
            url: of the directory.

        Raises:
            InputError: its protocol is unknown, or a package is missing for it; or it
                holds what may be secret.
        """
        self.url = url if url.endswith("://") else url.rstrip("/")
        if urls.has_secrets(url) or "::" in url:
            raise InputError(
                f"{urls.without_secrets(url)}: must be the URL of a directory, without "
                "'::', user, password, query and fragment; credentials are taken from "
                "the environment"
            )
        self._protocol = url.partition("://")[0].lower()
        try:
            import fsspec
        except ImportError:
            raise InputError(
                f"{url}: data at a URL need fsspec; install it: {_EXTRA}"
            ) from None
        try:
            fsspec.get_filesystem_class(self._protocol)
        except Exception as error:  # of the import of any package
            own = self._protocol in _OWN
            remedy = f"install it: {_EXTRA}" if own else "see fsspec's documentation"
            raise InputError(
                f"{url}: {_reason(error, typed=False)}; {remedy}"
            ) from None

    def read_index(self, directory: Path) -> Index:
        """Downloads the index.

        Args:
            directory: where it is for a moment; it exists.

        Raises:
            UserError: it cannot be downloaded, or is invalid.
            OSError: it cannot be written.
        """
        url = f"{self.url}/{index.NAME}"

        def attempt() -> Index:
            with self._downloaded(directory / index.NAME, _MOST_INDEX_BYTES) as path:
                return index.parse(path.read_bytes(), url)

        return self._retried(url, attempt)

    def fetch(self, found: Index, shard: Shard, path: Path) -> None:
        """Downloads a shard, and compares all of it with the index.

        Args:
            found: index of the data set.
            shard: which.
            path: where to.

        Raises:
            UserError: it cannot be downloaded, or is another than the index names.
            OSError: it cannot be written.
        """
        url = f"{self.url}/{shard.file}"

        def attempt() -> None:
            directory = path.parent
            with self._downloaded(directory / shard.file, shard.bytes) as hidden:
                ShardFile(hidden, found, shard, url, _REMEDY).verify()
                hidden.replace(path)

        self._retried(url, attempt)

    def _retried(self, url: str, attempt: Callable[[], T]) -> T:
        """Calls a function, and again if it fails for a reason that may pass.

        Raises:
            UserError: the last attempt failed.
            OSError: the local disk is full.
        """
        for number, wait in enumerate((*_WAITS, None), 1):
            try:
                return attempt()
            except FileNotFoundError:
                raise InputError(
                    f"{url}: there is no such file; give the URL of a directory that "
                    "distmnist.prepare wrote, uploaded with all its files"
                ) from None
            except UserError as error:  # it was received, but is damaged
                if wait is None:
                    raise
                problem = str(error)
            # Each protocol's package has errors of its own.
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _LOCAL:
                    raise
                if wait is None or _is_final(error):
                    raise RunError(
                        f"{url}: cannot be downloaded ({_reason(error)}); check URL, "
                        "network and credentials: the same command continues"
                    ) from None
                problem = f"{url}: {_reason(error)}"
            logging.warning("Attempt %d failed: %s", number, problem)
            time.sleep(wait)
        raise AssertionError

    @contextlib.contextmanager
    def _downloaded(self, path: Path, most: int) -> Iterator[Path]:
        """Downloads a file, at one attempt; it is removed at the end.

        Args:
            path: of its name.
            most: bytes that it may have.

        Yields:
            Where it is: another name in that directory.

        Raises:
            Exception: any, of the protocol's package.
        """
        # Of this attempt: the thread of one that was abandoned may still write.
        hidden = whole_files.hidden(path)
        try:
            self._download(path.name, hidden, most)
            yield hidden
        finally:
            hidden.unlink(missing_ok=True)

    def _download(self, name: str, path: Path, most: int) -> None:
        from fsspec.callbacks import Callback

        outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        abandoned = threading.Event()

        def limit(_: int, received: int, **__: object) -> None:
            if abandoned.is_set() or received > most:
                raise ValueError(f"more than {most} bytes")

        def run() -> None:
            try:
                system, root = self._open()
                place = f"{root.rstrip('/')}/{name}"
                hooks = Callback(hooks={"limit": limit})
                system.get_file(place, str(path), callback=hooks)
            except BaseException as error:
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=run, name="download", daemon=True).start()
        try:
            with watchdog.phase(f"downloading {self.url}/{name}"):
                error = _wait(outcome, path)
        finally:
            abandoned.set()
        if error:
            raise error

    def _open(self) -> tuple[Any, str]:
        """Returns the file system of fsspec, and the directory in it."""
        import fsspec.config
        import fsspec.core

        options: dict[str, Any] = {}
        if self._protocol in _OWN:
            import aiohttp

            # By default a file has to arrive in five minutes, and no proxy is used.
            # These end threads that were abandoned before.
            seconds = 2 * _STALL_SECONDS
            timeout = aiohttp.ClientTimeout(
                None, sock_connect=seconds, sock_read=seconds
            )
            client: dict[str, Any] = {"timeout": timeout, "trust_env": True}
            for name in _OWN:
                client.update(fsspec.config.conf.get(name, {}).get("client_kwargs", {}))
            options["client_kwargs"] = client
        system, root = fsspec.core.url_to_fs(self.url, **options)
        return system, str(root)


def _wait(
    outcome: queue.SimpleQueue[BaseException | None], path: Path
) -> BaseException | None:
    """Waits for a download, as long as bytes reach its file.

    Returns:
        Its error, if it failed.
    """
    size, since = 0, time.monotonic()
    while True:
        try:
            return outcome.get(timeout=0.2)
        except queue.Empty:
            pass
        received = path.stat().st_size if path.exists() else 0
        if received >= size + _STALL_BYTES:
            size, since = received, time.monotonic()
            watchdog.beat()
        elif time.monotonic() - since > _STALL_SECONDS:
            return TimeoutError(
                f"{received - size} bytes received in {_STALL_SECONDS:g} s"
            )


def _is_final(error: Exception) -> bool:
    """Returns whether another attempt would fail, too."""
    if isinstance(error, (PermissionError, ImportError)):
        return True
    status = getattr(error, "status", None)  # aiohttp's
    return isinstance(status, int) and status // 100 == 4 and status not in _TRANSIENT


def _reason(error: BaseException, typed: bool = True) -> str:
    """Returns what went wrong in one line without secrets.

    Args:
        error: the error.
        typed: name its type, if its text may say little.
    """
    text, kind = " ".join(str(error).split()), type(error).__name__
    if not text or (typed and not isinstance(error, OSError)):
        text = f"{kind}: {text}" if text else kind
    return urls.without_secrets(text)[:300]
