"""The watchdog: whom it names, and that it ends a process whatever blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distmnist.distributed import stopped
from distmnist.distributed.watchdog import Heartbeat, Watchdog, _describe
from tests.jobs import Job
from tests.launching import MPIRUN, TRAIN, messages

HANGS = """
import threading, time
from distmnist.distributed.watchdog import watchdog
watchdog.enable(0, {seconds})
with watchdog.phase("connecting"):
    {work}
print("went on")
"""


def hang(seconds: float, work: str, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """Returns status and output of a process that is watched while it works."""
    command = (sys.executable, "-c", HANGS.format(seconds=seconds, work=work))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=30
    )
    return done.returncode, done.stdout + (done.stderr or "")


def test_without_progress_the_process_ends() -> None:
    status, output = hang(1.0, "threading.Event().wait()")
    assert status == 1
    assert "distmnist: no progress for 2 s while connecting (--stall_" in output


def test_a_full_pipe_on_standard_error_does_not_keep_it() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    work = "import sys; sys.stderr.write('x' * 100_000)"  # holds its lock forever
    assert hang(1.0, work, write)[0] == 1
    os.close(read)


def test_an_exit_that_blocks_does_not_keep_it() -> None:
    work = "from types import SimpleNamespace as Ranks\n"
    work += "    from distmnist.distributed import watchdog as module\n"
    work += "    module._ABORT_SECONDS = 1.0\n"
    work += "    wait = lambda *_: threading.Event().wait()\n"
    work += "    silent = lambda *_: None\n"
    work += "    ranks = Ranks(rank=0, abort=wait, exchange_heartbeats=silent)\n"
    work += "    watchdog.attach(ranks); wait()"
    assert hang(1.0, work)[0] == 1


def test_progress_is_a_beat_or_own_work() -> None:
    beats = "[(time.sleep(0.5), watchdog.beat()) for _ in range(8)]"
    assert hang(2.0, beats) == (0, "went on\n")
    works = "end = time.monotonic() + 4\n"
    works += "    with watchdog.own_work():\n"
    works += "        while time.monotonic() < end: pass"
    assert hang(2.0, works) == (0, "went on\n")


def test_a_process_that_was_stopped_itself_goes_on() -> None:
    # The time in which it is stopped counts for one sleep only.
    work = "print('started', flush=True); [time.sleep(0.4) for _ in range(10)]"
    command = (sys.executable, "-c", HANGS.format(seconds=6.0, work=work))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "started\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(7)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=30)[0] == "went on\n"


def test_a_process_without_a_launcher_has_no_thread() -> None:
    watchdog = Watchdog()
    with watchdog.phase("training"), watchdog.own_work():
        watchdog.beat()
    assert not watchdog.enabled


def test_who_is_slow_is_named_not_who_waits() -> None:
    training, saving = Heartbeat("training", 9), Heartbeat("saving a checkpoint", 8)
    answers = {1: training, 0: saving, 2: training}
    assert _describe(answers, [], "training") == (
        ": rank 0 is saving a checkpoint, ranks 1, 2 are training"
    )
    assert _describe({0: training}, [1], "training") == (
        ": no answer from rank 1, rank 0 is training"
    )
    assert _describe({0: training, 1: training}, [], "training") == " while training"
    assert _describe({}, [], "connecting") == " while connecting"


def test_stopped_ranks_of_an_elastic_job_are_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "test", "HOROVOD_GLOO_RENDEZVOUS_PORT": "1"}
    of = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "test", "HOROVOD_GLOO_RENDEZVOUS_PORT": "2"}
    mine, other = (
        subprocess.Popen(["sleep", "60"], env={**os.environ, **variables})
        for variables in (job, of)
    )
    working = subprocess.Popen(["sleep", "60"], env={**os.environ, **job})
    try:
        for process in (mine, other):
            process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        for name, value in job.items():
            monkeypatch.setenv(name, value)
        assert stopped.end_stopped_peers() == []
        monkeypatch.setenv("HOROVOD_ELASTIC", "1")
        waits = f"while ') T ' in open('/proc/{mine.pid}/stat').read(): time.sleep(0.1)"
        status, output = hang(1.0, waits)
        assert (status, output[:8]) == (0, "went on\n")  # the job heals
        assert f"killed stopped process {mine.pid} (rank 0)" in output
        assert mine.wait(10) == -signal.SIGKILL
        assert working.poll() is None
    finally:
        for process in (mine, other, working):
            process.kill()
            process.wait()


@pytest.mark.ranks
def test_a_rank_that_never_joins_ends_the_job(tmp_path: Path) -> None:
    leaves = '[ "$OMPI_COMM_WORLD_RANK" = 1 ] || exec "$@"'  # with status 0
    flags = ("--dataset=digits", "--stall_seconds=4", f"--log_dir={tmp_path}")
    command = (*MPIRUN, 2, "sh", "-c", leaves, "sh", *TRAIN, *flags)
    with Job(command, tmp_path) as job:
        assert job.end(60) == 1
        assert "while connecting (--stall_seconds): abort" in messages(job.output())[-1]
