"""Regular files: what people name may be a pipe, and may be removed meanwhile."""

from __future__ import annotations

import os
import stat


class File:
    """A regular file that is open for reading: its content, even if it is deleted."""

    def __init__(self, path: str):
        """Opens a file.

        Raises:
            OSError: it cannot be opened, or is no regular file.
        """
        self._descriptor = -1
        # A FIFO would be waited for.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self.size = found.st_size
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise OSError(0, "not a regular file", path)

    def close(self) -> None:
        """Closes the file; again: does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer.

        Raises:
            ValueError: the file ends before.
            OSError: it cannot be read.
        """
        while buffer:
            count = os.preadv(self._descriptor, [buffer], offset)
            if not count:
                raise ValueError("a file is shorter than it was")
            buffer, offset = buffer[count:], offset + count

    def read(self, size: int, offset: int = 0) -> bytes:
        """Returns so many bytes; raises as `read_into` does."""
        content = bytearray(size)
        self.read_into(memoryview(content), offset)
        return bytes(content)
