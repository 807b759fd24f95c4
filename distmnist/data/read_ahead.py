"""Reads ahead: an iterator that runs on a thread, so many items before it is asked."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from distmnist.distributed.watchdog import watchdog

T = TypeVar("T")

# Files that are being read, by thread; the one that takes longest comes first.
_files: dict[int, Path] = {}

_DEPTH = 2  # items that are ready, beside one that is read and one that is used


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Names the file that is read inside, in the watchdog's messages."""
    thread = threading.get_ident()
    _files[thread] = path
    try:
        yield
    finally:
        del _files[thread]


def with_file(what: str) -> Callable[[], str]:
    """Returns the name of a phase, which ends with the file that is being read, if any.

    Args:
        what: what the main thread does, to follow "is".
    """

    def name() -> str:
        files = list(_files.values())
        return f"{what} from {files[0]}" if files else what

    return name


class _End(NamedTuple):
    """What the thread sends last.

    Attributes:
        error: what ended the iterator, if it failed.
    """

    error: BaseException | None = None


def read_ahead(items: Iterator[T], what: str) -> Iterator[T]:
    """Yields the items of an iterator, which runs ahead on a thread.

    Closing the generator ends the thread, after the item that it is reading.

    Args:
        items: the iterator.
        what: what the main thread does if it has to wait, to follow "is", in the
            watchdog's messages.

    Raises:
        BaseException: what the iterator raises, at its place.
    """
    ready: queue.Queue[T | _End] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def run() -> None:
        end = _End()
        try:
            for item in items:
                if not _put(ready, item, stopped):
                    return
        except BaseException as error:
            end = _End(error)
        _put(ready, end, stopped)

    threading.Thread(target=run, name="read ahead", daemon=True).start()
    try:
        while True:
            try:
                item = ready.get_nowait()
            except queue.Empty:
                with watchdog.phase(with_file(what)):
                    item = ready.get()
            if isinstance(item, _End):
                if item.error:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()  # the thread may wait for a place


def _put(ready: queue.Queue[T], item: T, stopped: threading.Event) -> bool:
    """Waits for a place for an item; returns False if it is not wanted any more."""
    while not stopped.is_set():
        with contextlib.suppress(queue.Full):
            ready.put(item, timeout=1)
            return True
    return False
