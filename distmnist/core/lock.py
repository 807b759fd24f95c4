"""The exclusive lock on a run directory, which also tells whether it is still there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import IO

from absl import logging

from distmnist.core import resuming
from distmnist.core.errors import InputError, RunError

# Of a file system without locks, such as Lustre's without -o flock.
_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_MAX_BYTES = 4096
_POLL_SECONDS = 0.2


class Lock:
    """A lock file; its content names the holder, or the last one."""

    def __init__(self, path: Path, what: str = "flag --log_dir="):
        """Does not access the disk.

        Args:
            path: the lock file, directly in the run directory.
            what: precedes the directory in messages.
        """
        self._path = path
        self._label = f"{what}{path.parent}"
        self._file: IO[bytes] | None = None

    def acquire(self, seconds: float = 0.0) -> None:
        """Locks until this process ends, or `release`.

        The kernel holds the lock, and releases it however the process ends. On a
        network file system it is the server (NFS: since version 4), so that it is
        exclusive between hosts too.

        Args:
            seconds: timeout, while another process holds it.

        Raises:
            InputError: another process still holds it.
            OSError: the file cannot be written.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._path, flags, 0o666), "r+b", buffering=0)
        descriptor = self._file.fileno()
        try:
            if not _lock(descriptor, 0):
                used = f"{self._label}: in use by {_who(descriptor)}"
                if seconds:
                    logging.info("%s: waiting up to %g s for its end", used, seconds)
                if not _lock(descriptor, seconds):
                    raise InputError(
                        f"{used}; wait for its end, or choose another directory"
                    )
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            logging.warning(
                "%s: the file system has no locks (%s): a second job in the same "
                "directory would not be noticed, and both would overwrite its files",
                self._label,
                error.strerror,
            )
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
        # Never shorter than before: a kill at any time leaves a holder in the file.
        content = content.ljust(os.fstat(descriptor).st_size)
        os.pwrite(descriptor, content.encode(), 0)

    def release(self) -> None:
        """Releases the lock."""
        if self._file:
            self._file.close()
            self._file = None

    def assert_in_place(self) -> None:
        """Checks that the run directory was neither moved, replaced nor removed.

        Does nothing if the lock is not held.

        Raises:
            RunError: it was.
        """
        if self._file:
            assert_in_place(self._file.fileno(), self._path)


def assert_in_place(descriptor: int, path: Path) -> None:
    """Checks that an open file is still the one at its path.

    Args:
        descriptor: of the file.
        path: where it was opened, in the run directory.

    Raises:
        RunError: it was moved, replaced or removed.
    """
    try:
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return
        found = "was replaced"
    except OSError as error:
        found = f"is not there ({error.strerror})"
    now = os.readlink(f"/proc/self/fd/{descriptor}")
    found = "was removed" if now.endswith(" (deleted)") else f"{found}: it is now {now}"
    raise RunError(
        f"log directory {path.parent}: during the run, {path.name} {found}; the run "
        f"ended, because what it writes would be lost: {resuming.how_to_continue()} "
        "once the directory is back, or give its new path as --log_dir"
    )


def holder(path: Path) -> dict[str, object] | None:
    """Returns the content of a lock file; None if it is not that of a `Lock`."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return _parse(os.read(descriptor, _MAX_BYTES))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, seconds: float) -> bool:
    """Locks an open file; returns whether it succeeded within some seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
        time.sleep(_POLL_SECONDS)


def _who(descriptor: int) -> str:
    """Returns who holds a lock file."""
    found = _parse(os.pread(descriptor, _MAX_BYTES, 0))
    if found is None:  # it is about to write its name
        return "another process"
    return f"process {found['pid']} on {found['host']}"


def _parse(content: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    if isinstance(found, dict) and {"host", "pid"} <= found.keys():
        return found
    return None
