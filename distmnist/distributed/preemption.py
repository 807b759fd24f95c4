"""Graceful preemption: a signal stops all ranks at the same step, with a checkpoint.

SIGTERM and SIGINT request it, sent to any rank, or by a launcher to all. So do SIGHUP,
when the terminal closes, and SIGUSR1 and SIGUSR2: `mpirun` forwards those without
further action, while it kills its ranks one second after a SIGTERM.

One event may send several signals: a cluster that signals every process of a job, and a
launcher that forwards its own. All that arrive within two seconds are one event, and so
is a later one of the same meaning by another number, as the launcher of a pod may be
stopped seconds after its workers. The same again, a person's second Ctrl-C, ends the
process at once.

Two parts: a thread that waits for signals, because Python's own handlers run on the
main thread alone, which may be in a graph call that never returns when its peers are
dead; and a hook of the training loop, by which ranks agree on the step.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from distmnist.core import resuming
from distmnist.core.errors import Preempted
from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster

# What each signal counts as.
_MEANING = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGTERM,
    signal.SIGUSR2: signal.SIGINT,
}

# Seconds in which any further signals belong to the same event.
_EVENT_SECONDS = 2.0

# Seconds between two votes. `mpirun` leaves a rank one second to save and exit.
_VOTE_SECONDS = 0.5
# Most steps between two votes: bounds the memory of the indices of a graph call.
_MAX_STEPS = 1000


# Programs that start ranks: those of Open MPI, of release 4 and of 5; horovodrun; and
# Slurm's on each node.
_OPEN_MPI = ("mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "prted")
_LAUNCHERS = (*_OPEN_MPI, "horovodrun")
_STEP = "slurmstepd: "  # and its number, all in one word
_PYTHON = re.compile(r"python[\d.]*")
_SHELLS = ("sh", "bash", "dash")

_SYS_PIDFD_OPEN = 434  # on every architecture


class Signals:
    """Waits for the signals that end a job, on a dedicated thread.

    Attributes:
        received: the first signal that arrived while deferred, SIGTERM or SIGINT; 0 if
            none.
        grace_seconds: shutdown grace period: the process ends at the latest so long
            after that signal.
    """

    def __init__(self) -> None:
        """Starts to wait; only the main thread may call it."""
        self.received = 0
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
                is_other = new & seen or {_MEANING[number] for number in new} != {
                    meaning
                }
                if is_other and time.monotonic() - begin > _EVENT_SECONDS:
                    break
                seen |= new
        os._exit(128 + meaning)

    def _read(self, most: int) -> set[signal.Signals]:
        """Returns the next signals that have arrived."""
        return set(map(signal.Signals, os.read(self._pipe, most)))


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


class PreemptionHook:
    """Stops all ranks at the same step, and limits how long a graph call takes.

    A signal reaches ranks at different moments. Twice a second they compare what they
    have received, with one small allreduce; because they count steps, not seconds, they
    also compare how long a step takes.
    """

    def __init__(
        self,
        cluster: Cluster,
        signals: Signals | None,
        max_steps: int,
        start: Progress,
        save: Callable[[Progress], None],
    ):
        """Starts to count steps.

        Args:
            cluster: its ranks vote. In an elastic job, a signal that only some ranks
                receive removes only those.
            signals: of this process; None if it watches for none.
            max_steps: most steps between two votes; 0: as many as half a second takes.
            start: progress at the start of training.
            save: writes a checkpoint, and returns when it is complete.
        """
        self._cluster = cluster
        self._signals = signals
        self._max_steps = max_steps or _MAX_STEPS
        self._before = start
        self._next = start.step + 1  # a first step shows how long one takes
        self._save = save

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the step of the next vote."""
        return min(self._next, last_step)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether ranks vote after this step."""
        return step >= self._next

    def __call__(self, progress: Progress) -> None:
        """Votes.

        Args:
            progress: training progress.

        Raises:
            Preempted: on all ranks, once a checkpoint is written, if any rank has
                received a signal.
        """
        before, self._before = self._before, progress
        seconds = progress.seconds - before.seconds
        mine = self._signals.received if self._signals else 0
        received, missed, step_seconds = self._cluster.allreduce_max(
            [mine, mine == 0, seconds / (progress.step - before.step)]
        )
        if self._cluster.is_elastic and missed:
            if mine:  # this rank leaves, the others continue
                os._exit(128 + mine)
        elif received:
            self._save(progress)
            name = signal.Signals(int(received)).name
            raise Preempted(
                f"stopped by {name} at step {progress.step} with a checkpoint: "
                f"{resuming.how_to_continue(saved=True)}",
                int(received),
            )
        steps = int(_VOTE_SECONDS / step_seconds)
        self._next = progress.step + max(1, min(steps, self._max_steps))
