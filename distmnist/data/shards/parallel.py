"""Writes the parts of a data set, in several processes where reading takes long."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from distmnist.core.errors import RunError
from distmnist.data.shards.preparation import Part, Preparation, Written

Progress = Callable[[int], None]
"""Called with a number of examples that were read."""

_INTERVAL_SECONDS = 0.2  # of calls of the progress


def write(
    writing: Preparation, parts: Sequence[Part], processes: int, progress: Progress
) -> Iterator[Written]:
    """Writes parts; yields what became of each, in any order.

    Args:
        writing: what they are parts of.
        parts: which.
        processes: how many write at the same time; 1: this one.
        progress: called time and again.

    Raises:
        UserError: an example is invalid, or a process was killed.
        OSError: a shard cannot be written.
    """
    if processes == 1:
        for part in parts:
            yield writing.write(part, progress)
        return
    # Forked, they have what they read from without a copy of it. This process has no
    # threads yet: it has not imported TensorFlow.
    context = multiprocessing.get_context("fork")
    counter = context.Value("q", 0)
    pool = ProcessPoolExecutor(processes, context, _begin, (writing, counter))
    try:
        waiting: set[Any] = {pool.submit(_write, part) for part in parts}
        seen = 0
        while waiting:
            done, waiting = wait(waiting, _INTERVAL_SECONDS, FIRST_COMPLETED)
            progress(counter.value - seen)
            seen = counter.value
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise RunError(
            "a process that read examples was killed, perhaps for want of memory; the "
            "same command continues"
        ) from None
    finally:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)


_writing: Preparation
_counter: Any


def _begin(writing: Preparation, counter: Any) -> None:
    """Begins one of the processes."""
    global _writing, _counter
    _writing, _counter = writing, counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends them
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _write(part: Part) -> Written:
    def progress(count: int) -> None:
        with _counter.get_lock():
            _counter.value += count

    return _writing.write(part, progress)
