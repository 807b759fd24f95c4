"""What of a run a tracker has already."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

import msgspec

from distmnist.core.errors import InputError

_MAX_BYTES = 4096


class _Content(msgspec.Struct):
    run: str = ""
    steps: dict[str, int] = {}


class State:
    """A file of the run directory, locked by the process that publishes.

    Attributes:
        run: identifier that the tracker has given the run; "" before.
        steps: last published step, by series.
    """

    def __init__(self, path: Path):
        """Opens the file, and creates it if it is missing.

        Args:
            path: the file.

        Raises:
            InputError: another process publishes, or it is not as this class writes it.
            OSError: it cannot be written.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        try:
            with contextlib.suppress(OSError):  # of a file system without locks
                _lock(self._descriptor, path)
            content = os.pread(self._descriptor, _MAX_BYTES, 0)
            found = msgspec.json.decode(content or b"{}", type=_Content)
        except ValueError:
            os.close(self._descriptor)
            raise InputError(
                f"{path}: is damaged; remove it to publish the run as a new one"
            ) from None
        except BaseException:
            os.close(self._descriptor)
            raise
        self.run, self.steps = found.run, found.steps

    def save(self) -> None:
        """Writes the file: in one piece, and never shorter than before.

        Raises:
            OSError: it cannot be written.
        """
        content = msgspec.json.encode(_Content(self.run, self.steps))
        size = os.fstat(self._descriptor).st_size
        os.pwrite(self._descriptor, content.ljust(size), 0)

    def __enter__(self) -> State:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Releases the lock."""
        os.close(self._descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path.parent}: another process publishes this run; wait for its end"
        ) from None
