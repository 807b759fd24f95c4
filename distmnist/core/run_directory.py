"""The run directory: every file name in a run, the lock, and the archive of old runs.

No other module knows the name of a file in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from typing import IO

from absl import logging

from distmnist.core.errors import InputError

_CHECKPOINT = "model.ckpt-"
_CHECKPOINT_FILE = re.compile(
    rf"{re.escape(_CHECKPOINT)}(\d+)\.(?:index|sha256|data-.*)"
)
_TEMPORARY_FILE = re.compile(rf"\.{re.escape(_CHECKPOINT)}\d+\.")
_EVENTS = "events.out.tfevents."  # TensorBoard's choice


class RunDirectory:
    """The directory of a run, on disk or not.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Does not access the disk.

        Args:
            path: --log_dir of the run.
        """
        self.path = Path(path)
        self._lock: IO[str] | None = None

    # Names.

    @property
    def metrics(self) -> Path:
        """Metrics, a JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def flags(self) -> Path:
        """Flags of the run, as a flag file."""
        return self.path / "flags.txt"

    @property
    def report(self) -> Path:
        """Report on the run."""
        return self.path / "report.html"

    @property
    def profile(self) -> Path:
        """Profiles of TensorFlow."""
        return self.path / "plugins" / "profile"

    @property
    def best(self) -> RunDirectory:
        """Directory of the checkpoint with the best validation accuracy."""
        return RunDirectory(self.path / "best")

    @property
    def rewritten(self) -> Path:
        """Temporary file, which replaces another as a whole."""
        return self.path / ".rewriting"

    @property
    def evaluations(self) -> Path:
        """Directory of the event files of evaluations, one directory per split."""
        return self.path / "eval"

    def evaluation(self, split: str) -> Path:
        """Returns the directory of the event files of one split."""
        return self.evaluations / split

    def event_files(self) -> list[Path]:
        """Returns TensorBoard's event files, those of evaluations included."""
        return [
            *self.path.glob(f"{_EVENTS}*"),
            *self.evaluations.glob(f"*/{_EVENTS}*"),
        ]

    def checkpoint(self, step: int) -> str:
        """Returns the path of the checkpoint of a step, without suffix.

        It has a directory, "./" where that is the working directory.
        """
        return os.path.join(self.path, f"{_CHECKPOINT}{step}")

    def checkpoint_steps(self) -> list[int]:
        """Returns the steps of which there is any checkpoint file, newest first.

        Raises:
            OSError: the directory cannot be read.
        """
        names = os.listdir(self.path) if self.path.is_dir() else ()
        matches = (_CHECKPOINT_FILE.fullmatch(name) for name in names)
        return sorted({int(match[1]) for match in matches if match}, reverse=True)

    # Ownership.

    def prepare(self, restart: bool) -> None:
        """Creates the directory if it is missing, locks it, and removes leftovers.

        Args:
            restart: archive the existing run in a subdirectory.

        Raises:
            InputError: it cannot be created or written to, or another process uses it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
            self._acquire_lock()
            # Left by a killed process. Other subdirectories may be other runs.
            self.rewritten.unlink(missing_ok=True)
            for directory in (self.path, self.best.path):
                for path in directory.glob(f".{_CHECKPOINT}*"):
                    if _TEMPORARY_FILE.match(path.name):
                        path.unlink()
            if restart:
                self._archive()
        except OSError as error:
            raise InputError(
                f"flag --log_dir={self.path}: cannot be written to ({error.strerror}); "
                "choose another directory"
            ) from None

    def release(self) -> None:
        """Releases the lock."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def _acquire_lock(self) -> None:
        """Locks the directory until this process ends.

        The kernel holds the lock, and releases it however the process ends. On a
        network file system it is the server (NFS: since version 4), so that it is
        exclusive between hosts too.
        """
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"flag --log_dir={self.path}: in use by {_holder(lock)}; wait for its "
                "end, or choose another directory"
            ) from None
        lock.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, lock)
        lock.flush()
        self._lock = lock

    def _archive(self) -> None:
        """Moves the files of a run to a new subdirectory.

        It is not beside the directory, which may be a mounted volume.
        """
        files = [
            path
            for path in self.path.iterdir()
            if path.name.startswith(_EVENTS) or _CHECKPOINT_FILE.fullmatch(path.name)
        ]
        named = (self.metrics, self.flags, self.report, self.profile)
        directories = (self.best.path, self.evaluations)
        files += [path for path in (*named, *directories) if path.exists()]
        if not files:
            return
        prefix = time.strftime("%Y%m%d-%H%M%S-")
        archive = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path))
        for path in files:
            target = archive / path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)  # of a profile
            path.rename(target)
        logging.info("--restart: the run in %s was archived in %s", self.path, archive)


def _holder(lock: IO[str]) -> str:
    """Returns the holder of a lock, as recorded in its file."""
    lock.seek(0)
    try:
        holder = json.load(lock)
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, LookupError, TypeError):  # another process is writing it
        return "another process"
