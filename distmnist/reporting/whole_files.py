"""Files that appear whole and together, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class WholeFiles:
    """Files that replace others when all are written, as a context manager."""

    def __init__(self) -> None:
        """Writes nothing yet."""
        self._written: dict[Path, Path] = {}

    def __enter__(self) -> WholeFiles:
        """Returns itself."""
        return self

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
        name = f".distmnist-{os.getpid()}-{len(self._written)}{path.suffix}"
        self._written[path] = path.with_name(name)
        return self._written[path]

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Gives all files their names; if there was an error, removes them instead."""
        try:
            while not error and self._written:
                path, written = next(iter(self._written.items()))
                os.replace(written, path)
                del self._written[path]
        finally:
            for written in self._written.values():
                with contextlib.suppress(OSError):
                    written.unlink()
