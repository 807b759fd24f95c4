"""One job a log directory: the second refuses, naming the first."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

from distmnist.core.errors import InputError

LOCK_FILE = "lock"


class DirectoryLock:
    """A lock on a directory, held until this process ends.

    The kernel holds it, and lets go when the process dies, however it does.  On a
    network file system it is the server (NFS: since version 4), so that it holds
    between hosts too.
    """

    def __init__(self, directory: Path):
        """Takes the lock.

        Args:
            directory: exists.

        Raises:
            InputError: another process has it.
            OSError: the directory can't be written to.
        """
        self._file = (directory / LOCK_FILE).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"flag --log_dir={directory}: in use by {self._holder()}; wait for its "
                "end, or choose another directory"
            ) from None
        self._file.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Lets another process have the directory."""
        self._file.close()

    def _holder(self) -> str:
        """Returns who has the lock, as it has written down."""
        self._file.seek(0)
        try:
            holder = json.load(self._file)
            return f"process {holder['pid']} on {holder['host']}"
        except (ValueError, LookupError):  # it is writing just now
            return "another process"
