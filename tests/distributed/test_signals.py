"""Signals, the processes of a launcher, and the end of a training by them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distmnist.core import resuming
from distmnist.core.errors import Preempted
from distmnist.core.progress import Progress
from distmnist.distributed import signals
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.preemption import PreemptionHook


def test_a_descriptor_of_a_process_becomes_readable_when_it_ends() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    descriptor = signals._pidfd_open(process.pid)
    assert select.select([descriptor], [], [], 0)[0] == []
    process.kill()
    assert select.select([descriptor], [], [], 10)[0] == [descriptor]
    process.communicate()
    with pytest.raises(ProcessLookupError):
        signals._pidfd_open(process.pid)
    os.close(descriptor)


def test_a_signal_while_the_process_ends_does_not_change_its_exit_status() -> None:
    # The C library calls raise(status) after the interpreter has ended.
    code = """
import ctypes, signal, sys
from distmnist.distributed import signals
signals.ProgramSignals()
libc = ctypes.CDLL(None)
libc.on_exit(libc["raise"], None)
sys.exit(signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == signal.SIGUSR1


def test_a_rank_that_waits_for_the_last_checkpoint_is_not_ended_by_a_signal() -> None:
    """Its end would be that of rank 0, which writes it."""
    code = """
import os, signal, time
from distmnist.core.errors import Preempted
from distmnist.distributed import signals
signals = signals.ProgramSignals()
signals.grace_seconds = 20
try:
    with signals.deferred():
        raise Preempted("on another rank's signal", signal.SIGTERM)
except Preempted:
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(1)
    print("waited")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "waited\n"), done.stderr


BORROWED = """
import signal, time
from distmnist.distributed.signals import BorrowedSignals
own = []
signal.signal(signal.SIGUSR1, lambda *_: own.append("own"))
with BorrowedSignals() as signals:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("before the loop")
with BorrowedSignals() as signals:
    with signals.deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)  # while rank 0 saves
    print(*own, signals.received == signal.SIGINT)
    time.sleep(2.1)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("again")
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("given back", flush=True)
signal.raise_signal(signal.SIGTERM)
"""


def test_a_program_lends_the_signals_that_it_does_not_handle() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BORROWED], capture_output=True, text=True, timeout=60
    )
    expected = "before the loop\nown True\nagain\ngiven back\n"
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, expected), done.stderr


@pytest.mark.parametrize(
    ("line", "is_launcher"),
    [
        (b"mpirun\0-np\x002\0python", True),
        (b"/usr/bin/orted\0-mca\0ess", True),
        (b"prterun\0-np\x002\0python", True),  # mpirun of Open MPI 5
        (b"/opt/openmpi/bin/prted\0--prtemca", True),
        (b"/bin/sh\0-c\0mpirun -np 2 -H localhost:2 python\0", True),  # horovodrun's
        (b"slurmstepd: [7.0]   ", True),
        (b"/home/me/slurmstepd: x\0", False),
        (b"-bash\0", False),
        (b"/bin/sh\0", False),
        (b"", False),
        (b"bash\0export_sorted.sh\0", False),
        (b"python\0/home/mpirun/train.py\0", False),
        (b"python\0train.py\0mpirun\0", False),
        (b"/venv/bin/python3.11\0/venv/bin/horovodrun\0--gloo\0", True),
    ],
)
def test_launchers_are_recognized_by_their_command_line(
    line: bytes, is_launcher: bool
) -> None:
    assert signals._is_launcher(line) == is_launcher


@pytest.mark.parametrize(("launcher", "watched"), [("mpirun", 2), ("other", 0)])
def test_scripts_up_to_the_launcher_are_watched(
    tmp_path: Path, launcher: str, watched: int
) -> None:
    program = tmp_path / launcher
    program.symlink_to("/bin/bash")  # which execs its last command, so there is another
    code = "from distmnist.distributed import signals as p; "
    code += "print(len(list(p._launchers())))"
    script = f"sh -c '{sys.executable} -c \"{code}\"; true'; true"
    done = subprocess.run([program, "-c", script], capture_output=True, text=True)
    assert done.stdout == f"{watched}\n", done.stderr


def test_a_run_that_was_restarted_is_continued_without_the_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resuming, "restarted", True)
    received = signals.Signals()
    received.received = signal.SIGTERM
    saved: list[Progress] = []
    hook = PreemptionHook(Cluster(), received, 0, Progress(0, 0), saved.append)
    expected = "SIGTERM at step 5 with a checkpoint: .* without --restart, to continue"
    with pytest.raises(Preempted, match=expected):
        hook(Progress(5, 5, seconds=1.0))
    assert [progress.step for progress in saved] == [5]
