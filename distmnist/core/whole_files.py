"""Files that appear whole or not at all, alone or several together."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

# Characters of a name and of its suffix that are kept: 255 bytes are allowed.
_NAME, _SUFFIX = 32, 16


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Has a file written under a hidden name, from which it gets its own at the end.

    It has reached the disk by then. If it cannot be written, or anything else is raised
    inside, nothing is left of it, and what was there before stays.

    Args:
        path: the file; replaced if it is there.

    Yields:
        Where to write it: a new name in the same directory, with the same suffix.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = hidden(path)
    try:
        yield unfinished
        descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    except BaseException:  # including KeyboardInterrupt
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def hidden(path: Path) -> Path:
    """Returns a new hidden name for a file that is to be `path` later.

    It is unique across hosts and containers that share the directory. Unlike a file of
    tempfile's, its mode follows the umask, so that other users' jobs can read it.
    """
    middle = f"{path.name[:_NAME]}.{uuid.uuid4().hex}"
    return path.with_name(f".{middle}.part{path.suffix[:_SUFFIX]}")


def remove_leftovers(directory: Path, name: str, seconds: float = 0.0) -> None:
    """Removes what processes that were killed have left of files.

    Args:
        directory: of the files.
        name: pattern of their names.
        seconds: since when nothing has been written to them: others may be writing.
    """
    for found in directory.glob(f".{name}.{'[0-9a-f]' * 32}.part*"):
        with contextlib.suppress(OSError):  # another user's, or just removed
            if time.time() - found.stat().st_mtime >= seconds:
                found.unlink()


class WholeFiles(contextlib.ExitStack):
    """Files that replace others when all are written, as a context manager."""

    def __init__(self) -> None:
        """Writes nothing yet."""
        super().__init__()
        self._unfinished: dict[Path, Path] = {}

    def path(self, path: Path) -> Path:
        """Returns where to write a file; its directory is created.

        Args:
            path: where it will be, replacing what is there.

        Raises:
            OSError: there is a directory, or its directory cannot be created.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path = Path(os.path.realpath(path))
        if path.is_dir():
            raise IsADirectoryError(0, "is a directory", str(path))
        if path.exists() and not path.is_file():  # such as /dev/stdout
            return path
        if path not in self._unfinished:
            self._unfinished[path] = self.enter_context(whole_file(path))
        return self._unfinished[path]
