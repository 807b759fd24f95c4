"""Signals that end a training, with a checkpoint: see `preemption`.

SIGTERM and SIGINT request it, sent to any rank, or by a launcher to all. So do SIGHUP,
when the terminal closes, and SIGUSR1 and SIGUSR2: `mpirun` forwards those without
further action, while it kills its ranks one second after a SIGTERM.

One event may send several signals: a cluster that signals every process of a job, and a
launcher that forwards its own. All that arrive within two seconds are one event, and so
is a later one of the same meaning by another number, as the launcher of a pod may be
stopped seconds after its workers. The same again, a person's second Ctrl-C, ends the
process at once.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import select
import signal
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from distmnist.core.errors import Preempted

# What each signal counts as.
_MEANING = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGTERM,
    signal.SIGUSR2: signal.SIGINT,
}

# What a signal does unless the program handles it.
_USUAL = (signal.SIG_DFL, signal.default_int_handler)

# Seconds in which any further signals belong to the same event.
_EVENT_SECONDS = 2.0

# Programs that start ranks: those of Open MPI, of release 4 and of 5; horovodrun; and
# Slurm's on each node.
_OPEN_MPI = ("mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "prted")
_LAUNCHERS = (*_OPEN_MPI, "horovodrun")
_STEP = "slurmstepd: "  # and its number, all in one word
_PYTHON = re.compile(r"python[\d.]*")
_SHELLS = ("sh", "bash", "dash")

_SYS_PIDFD_OPEN = 434  # on every architecture


class Signals:
    """Signals of a process: the base class, which handles none.

    Attributes:
        received: the first signal that arrived while deferred, SIGTERM or SIGINT; 0 if
            none.
    """

    received = 0

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """Leaves a first signal to the training loop, instead of ending the process."""
        return contextlib.nullcontext()


class ProgramSignals(Signals):
    """Waits for them in a program that only trains, on a dedicated thread.

    Python's own handlers run on the main thread alone, which may be in a graph call
    that never returns when its peers are dead.

    Attributes:
        grace_seconds: shutdown grace period: the process ends at the latest so long
            after that signal.
    """

    def __init__(self) -> None:
        """Starts to wait; only the main thread may call it."""
        self.grace_seconds = 0.0
        self._deferred = False
        self._pipe, end = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(end, False)
        # Python writes a signal's number to it at once, whichever thread receives it.
        signal.set_wakeup_fd(end)
        for number in _MEANING:
            # A job that was started in the background of a script, or by nohup,
            # ignores the terminal's signals, and continues to.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        # When the interpreter ends, it restores the default actions: a late signal
        # would kill the process that is ending, and replace its exit status.
        atexit.register(_ignore_signals)
        self._launchers = list(_launchers())
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Leaves a first signal to the training loop, instead of ending the process.

        After a vote to stop, too: a rank that was not signalled yet waits for rank 0,
        which writes the checkpoint, and its end would be that of rank 0.
        """
        self._deferred = True
        try:
            yield
        except Preempted:
            raise
        except BaseException:
            self._deferred = False
            raise
        self._deferred = False

    def _wait(self) -> NoReturn:
        select.select([self._pipe, *self._launchers], [], [])
        begin = time.monotonic()
        meaning = signal.SIGTERM  # when the launcher is gone
        seen = set()
        with contextlib.suppress(BlockingIOError):
            seen = self._read(1)
            meaning = _MEANING[next(iter(seen))]
        if self._deferred:
            self.received = meaning
            # Another event, or the end of the grace period, ends the process at once.
            while (left := begin + self.grace_seconds - time.monotonic()) > 0:
                if not select.select([self._pipe], [], [], left)[0]:
                    break
                new = self._read(4096)
                is_other = any(_is_other(number, seen, meaning) for number in new)
                if is_other and time.monotonic() - begin > _EVENT_SECONDS:
                    break
                seen |= new
        os._exit(128 + meaning)

    def _read(self, most: int) -> set[signal.Signals]:
        """Returns the next signals that have arrived."""
        return set(map(signal.Signals, os.read(self._pipe, most)))


class BorrowedSignals(Signals):
    """Takes signals around a training in a program that does more; a context manager.

    None that the program handles itself, and none outside the main thread, where Python
    handles them. Before the training loop, and when the same signal comes again later
    than its event lasts, each has its usual effect at once.
    """

    def __init__(self) -> None:
        """Takes none yet."""
        self._deferred = False
        self._event_ends = 0.0
        self._seen: set[int] = set()
        self._taken: dict[int, Any] = {}  # usual handlers

    def __enter__(self) -> BorrowedSignals:
        """Takes signals."""
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _MEANING}
            self._taken = {n: each for n, each in handlers.items() if each in _USUAL}
            for number in self._taken:
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        for number, handler in self._taken.items():
            signal.signal(number, handler)

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """Leaves a first signal to the training loop, and to what is saved after it."""
        self._deferred = True
        return contextlib.nullcontext()

    def _handle(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        is_other = _is_other(number, self._seen, self.received)
        self._seen.add(number)
        if self._deferred and not self.received:
            self.received = _MEANING[signal.Signals(number)]
            self._event_ends = now + _EVENT_SECONDS
        elif is_other and now > self._event_ends:
            signal.signal(number, self._taken[number])
            signal.raise_signal(number)


def _is_other(number: int, seen: Collection[int], meaning: int) -> bool:
    """Returns whether a signal, if it is late, is another event than those before."""
    return number in seen or _MEANING[signal.Signals(number)] != meaning


def _ignore_signals() -> None:
    for number in _MEANING:
        signal.signal(number, signal.SIG_IGN)


def _launchers() -> Iterator[int]:
    """Yields descriptors of the launcher's process here, and of shells around it.

    A script between this process and the launcher may be ended by the signal meant for
    both, so all processes up to the launcher are watched.
    """
    between: list[int] = []
    pid, found = os.getppid(), False
    with contextlib.suppress(OSError):
        while pid > 0:
            is_launcher = _is_launcher(Path(f"/proc/{pid}/cmdline").read_bytes())
            if found and not is_launcher:
                return
            between.append(pid)
            if is_launcher:
                found = True
                yield from map(_pidfd_open, between)
                between = []
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
            pid = int(after_name.split()[1])  # its parent


def _is_launcher(command_line: bytes) -> bool:
    """Returns whether a process is a launcher, or a shell that runs one.

    By the names of programs: "export_sorted.sh" holds "orted", and is none.

    Args:
        command_line: its words, each ended by a zero.
    """
    words = command_line.decode(errors="replace").split("\0")
    if os.path.basename(words[0]) in _SHELLS and words[1:2] == ["-c"]:
        words = words[2].split()
    elif _PYTHON.fullmatch(os.path.basename(words[0])):
        words = words[1:2]  # a launcher that is written in it
    else:
        words = words[:1]
    return any(
        os.path.basename(word) in _LAUNCHERS or word.startswith(_STEP) for word in words
    )


def _pidfd_open(pid: int) -> int:
    """Opens a descriptor that becomes readable when the process ends.

    `os.pidfd_open` is missing in Pythons that are built on old systems to run on all,
    such as those of uv and conda, wherever they run.

    Raises:
        OSError: there is no such process, or the kernel is older than Linux 5.3.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(_SYS_PIDFD_OPEN, pid, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    return descriptor
