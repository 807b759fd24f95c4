"""The run directory: its lock, what in it is a run's, and the archive of old runs."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import logging

from distmnist.core import lock
from distmnist.core.errors import InputError
from distmnist.core.run_files import RunFiles


class RunDirectory(RunFiles):
    """The directory of a run, which one process at a time writes to."""

    def __init__(self, path: str | os.PathLike[str]):
        """Does not access the disk.

        Args:
            path: --log_dir of the run.
        """
        super().__init__(path)
        self._lock = lock.Lock(self.lock)

    def prepare(self, restart: bool, lock_seconds: float = 0.0) -> None:
        """Creates the directory if it is missing, locks it, and removes leftovers.

        Args:
            restart: archive the existing run in a subdirectory.
            lock_seconds: timeout, while another process uses it.

        Raises:
            InputError: it cannot be created or written to, another process uses it, or
                it has files that a run would write, but no run has written.
        """
        try:
            self._assert_own()
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
            self._lock.acquire(lock_seconds)
            self.rewritten.unlink(missing_ok=True)
            # Other subdirectories may be those of live runs.
            for path in (*self.partial_checkpoints(), *self.best.partial_checkpoints()):
                path.unlink()
            if restart or self.archiving.exists():
                self.archive("--restart")
        except OSError as error:
            self.release()
            raise self._error(f"cannot be written to ({error.strerror})") from None
        except InputError:
            self.release()
            raise

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()

    def assert_in_place(self) -> None:
        """Checks that the directory was neither moved, replaced nor removed.

        Raises:
            RunError: it was, since `prepare`.
        """
        self._lock.assert_in_place()

    def archive(self, reason: str) -> None:
        """Moves the files of a run, if there are any, to a new subdirectory.

        It is not beside the directory, which may be a mounted volume. If the process is
        killed meanwhile, the next one moves the rest.

        Args:
            reason: for the log.

        Raises:
            OSError: they cannot be moved.
        """
        files = self.archived()
        if not files and not self.archiving.exists():
            return
        self.archiving.mkdir(exist_ok=True)
        for path in files:
            target = self.archiving / path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)  # of a profile
            path.rename(target)
        prefix = time.strftime("%Y%m%d-%H%M%S-")
        archive = tempfile.mkdtemp(prefix=prefix, dir=self.path)
        self.archiving.rename(archive)  # which is empty
        logging.info("%s: the run in %s was archived in %s", reason, self.path, archive)

    def _is_own(self) -> bool:
        """Returns whether a run has used the directory: by its lock, or checkpoints."""
        return bool(lock.holder(self.lock)) or self.has_checksums()

    def _assert_own(self) -> None:
        """Checks that nothing there belongs to others; changes nothing.

        Raises:
            InputError: something does.
            OSError: it cannot be read.
        """
        place = Path(os.path.realpath(self.path))
        for parent in map(RunDirectory, (place.parent, place.parent.parent)):
            # A run in best/ of another would be pruned by it.
            if place in parent.directories() and parent._is_own():
                raise self._error(f"belongs to the run in {parent.path}")
        is_own = self._is_own()
        for path in self.files():
            self._assert_own_name(path, stat.S_ISREG, "regular file", is_own)
        for path in self.directories():
            self._assert_own_name(path, stat.S_ISDIR, "directory", is_own)
            if _status(path / self.lock.name):
                name = path.relative_to(self.path)
                raise self._error(f"{name} in it is the directory of another run")
        # Beside those of a run, event files of others are left alone.
        for path in self.numbered(others=not is_own):
            if not is_own:
                raise self._foreign(path)
            if not path.is_file():
                raise self._error(f"{path.name} in it is not a regular file")

    def _assert_own_name(
        self, path: Path, kind: Callable[[int], bool], kind_name: str, is_own: bool
    ) -> None:
        """Checks a file or directory that every run writes.

        Raises:
            InputError: what is there is not a run's, or not of its kind.
        """
        status = _status(path)
        if status is None:
            return
        if not kind(status.st_mode):  # a pipe would be waited for
            name = path.relative_to(self.path)
            raise self._error(f"{name} in it is not a {kind_name}")
        # An empty lock is that of a run that was killed before its first file.
        if not is_own and (path != self.lock or status.st_size):
            raise self._foreign(path)

    def _foreign(self, path: Path) -> InputError:
        return self._error(
            f"contains {path.relative_to(self.path)}, which may be another program's, "
            "for there is no lock or checkpoint of a run"
        )

    def _error(self, problem: str) -> InputError:
        return InputError(
            f"flag --log_dir={self.path}: {problem}; choose another directory"
        )


def _status(path: Path) -> os.stat_result | None:
    """Returns the status of a file, or of a link itself; None if there is none."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
