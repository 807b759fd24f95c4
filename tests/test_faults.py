"""Fault tolerance on real ranks: the job ends, and resumes without a trace.

Each cell of the matrix interrupts the same run, which is resumed again and again; at
the end it must have the parameters and metrics of an uninterrupted run. `-m "not
slow"` leaves out most cells: `launch/test.sh -m slow` runs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from distmnist.checkpoint import format
from distmnist.core.run_directory import RunDirectory
from tests.jobs import Job
from tests.launching import (
    HOROVODRUN,
    HOROVODRUN_GLOO,
    MPIRUN,
    ROOT,
    TRAIN,
    messages,
    run,
)

# Long enough to be interrupted at any time, yet ended in seconds by the last resume.
FLAGS = ("--dataset=digits", "--log_every=50", "--eval_every=1000")
ENDLESS = (*FLAGS, "--max_steps=1000000", "--checkpoint_every=1000")

LAUNCHERS: dict[str, tuple[object, ...]] = {
    "plain": (),
    "mpirun": (*MPIRUN, 2),
    "horovodrun": (*HOROVODRUN, 2),
    "gloo": (*HOROVODRUN_GLOO, 2),
    "local.sh": (ROOT / "launch/graceful.sh", *MPIRUN, 2),
}
SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}


def expected_status(launcher: str, target: str, name: str) -> int:
    """Returns the status that the launcher's caller sees.

    Some launchers replace that of the ranks: `mpirun` exits with 1 on every signal to
    itself; `horovodrun` over Gloo sends its ranks a SIGTERM on every signal; over MPI,
    it is a shell, which a signal ends at once, before its ranks.
    """
    asked = {"TERM": 143, "INT": 130, "KILL": 137}[name]
    if launcher == "plain" or target == "launcher":
        if name == "KILL":
            return -9
        if launcher == "horovodrun":
            return -SIGNALS[name]
        if launcher == "mpirun":
            return 1
        if launcher == "gloo":
            return 143
    return asked


class Run:
    """A run that is interrupted, and its files."""

    def __init__(self, directory: Path):
        """Writes to `logs` in a directory."""
        self.directory = directory
        self.logs = directory / "logs"

    def start(self, launcher: str, env: dict[str, str] | None = None) -> Job:
        """Starts or resumes it, and waits until it logs a step."""
        before = self.logged()
        command = (*LAUNCHERS[launcher], *TRAIN, *ENDLESS, f"--log_dir={self.logs}")
        job = Job(command, self.directory, env)
        job.wait_for(lambda: self.logged() > before)
        return job

    def logged(self) -> int:
        """Returns the last step in its metrics."""
        try:
            lines = (self.logs / "metrics.jsonl").read_text().splitlines()
        except OSError:
            return 0
        whole = (line for line in lines if line.endswith("}"))
        steps = [json.loads(x)["step"] for x in whole if '"kind": "train"' in x]
        return int(max(steps, default=0))

    def saved(self) -> int:
        """Returns the step of its newest checkpoint, which must be complete."""
        found = format.latest(RunDirectory(self.logs)) if self.logs.exists() else None
        return found.metadata.step if found else 0

    def interrupt(self, launcher: str, target: str, name: str, delay: float = 0) -> Job:
        """Starts or resumes it, sends a signal, and waits for all processes to end.

        Args:
            launcher: of LAUNCHERS.
            target: "launcher", or a rank.
            name: of SIGNALS.
            delay: seconds from its first step to the signal.

        Returns:
            The ended job.
        """
        with self.start(launcher) as job:
            time.sleep(delay)
            before, begin = self.saved(), time.monotonic()
            if target != "launcher":
                os.kill(job.ranks()[int(target)], SIGNALS[name])
            elif name == "INT":  # as a terminal does; a shell alone ignores it
                os.killpg(job.pid, SIGNALS[name])
            else:
                os.kill(job.pid, SIGNALS[name])
            status = job.end(60)
            context = f"{launcher}, SIG{name} to {target}:\n{job.output()}"
            assert status == expected_status(launcher, target, name), context
            # Well below the 30 seconds that Kubernetes grants.
            assert time.monotonic() - begin < 20, context
            assert self.saved() >= before, context
            if name != "KILL":
                assert self.saved() > before, context
                assert "with a checkpoint" in job.output(), context
            assert "Traceback" not in job.output(), context
            return job

    def finish(self, steps: int) -> None:
        """Resumes it, or starts it, up to a last step, on 2 ranks."""
        command = (*MPIRUN, 2, *TRAIN, *FLAGS, f"--max_steps={steps}")
        run((*command, f"--log_dir={self.logs}"), cwd=self.directory)


def parameters(logs: Path, step: int) -> str:
    """Returns a digest of the variables of a checkpoint."""
    reader = tf.train.load_checkpoint(str(logs / f"model.ckpt-{step}"))
    names = sorted(reader.get_variable_to_shape_map())
    values = (reader.get_tensor(n).tobytes() for n in names if n != "metadata")
    return hashlib.sha256(b"".join(values)).hexdigest()


def metrics(logs: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl without the fields that depend on time."""
    lines = [json.loads(line) for line in (logs / "metrics.jsonl").open()]
    return [
        {
            name: value
            for name, value in line.items()
            if name not in ("time", "examples_per_sec", "step_ms", "goodput")
        }
        for line in lines
    ]


def events(logs: Path) -> list[tuple[int, str]]:
    """Returns step and tag of every loss that TensorBoard shows, on both x axes."""
    found = []
    for path in sorted(logs.rglob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags = {value.tag for value in event.summary.value}
            tags &= {"loss", "loss_vs_examples"}
            found.extend((event.step, tag) for tag in tags)
    return found


def check_against_uninterrupted(interrupted: Run, directory: Path) -> None:
    """Checks that a run ends with the results of one that was never interrupted."""
    steps = (max(interrupted.logged(), interrupted.saved()) // 50 + 3) * 50
    interrupted.finish(steps)
    uninterrupted = Run(directory)
    directory.mkdir()
    uninterrupted.finish(steps)
    assert parameters(interrupted.logs, steps) == parameters(uninterrupted.logs, steps)
    mine, theirs = metrics(interrupted.logs), metrics(uninterrupted.logs)
    # Each run evaluates at its end, where the other may have been stopped.
    assert [line for line in mine if line["kind"] == "train"] == [
        line for line in theirs if line["kind"] == "train"
    ]
    assert sorted(events(interrupted.logs)) == sorted(events(uninterrupted.logs))
    assert len(set(events(interrupted.logs))) == 2 * (steps // 50)


CELLS = [
    (launcher, target, name)
    for launcher in LAUNCHERS
    for target in (("launcher",) if launcher == "plain" else ("0", "1", "launcher"))
    for name in SIGNALS
    if launcher not in ("plain", "local.sh")
]
SHORT = [
    ("mpirun", "1", "TERM"),
    ("mpirun", "0", "KILL"),
    ("horovodrun", "launcher", "TERM"),
    ("gloo", "1", "KILL"),
    ("gloo", "launcher", "INT"),
    ("local.sh", "launcher", "TERM"),
]


def interrupt_all(cells: Iterable[tuple[str, str, str]], directory: Path) -> None:
    interrupted = Run(directory)
    for cell in cells:
        interrupted.interrupt(*cell)
    check_against_uninterrupted(interrupted, directory / "uninterrupted")


@pytest.mark.ranks
@pytest.mark.timeout(400)
def test_signals_end_the_job_and_it_resumes(tmp_path: Path) -> None:
    interrupt_all(SHORT, tmp_path)


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_signal_to_every_process_ends_the_job_and_resumes(tmp_path: Path) -> None:
    interrupt_all(CELLS, tmp_path)


# --- Cases beyond the matrix.

ALONE = (*TRAIN, *ENDLESS)


@pytest.mark.timeout(200)
def test_signals_end_one_process_and_it_resumes(tmp_path: Path) -> None:
    interrupted = Run(tmp_path)
    for name in SIGNALS:
        interrupted.interrupt("plain", "launcher", name)
    steps = interrupted.saved() + 100
    flags = (*TRAIN, *FLAGS, f"--max_steps={steps}")
    run((*flags, f"--log_dir={interrupted.logs}"), cwd=tmp_path)
    run((*flags, f"--log_dir={tmp_path / 'uninterrupted'}"), cwd=tmp_path)
    mine, theirs = interrupted.logs, tmp_path / "uninterrupted"
    assert parameters(mine, steps) == parameters(theirs, steps)


def test_a_closed_terminal_leaves_a_checkpoint_and_a_profile(tmp_path: Path) -> None:
    run_ = Run(tmp_path)
    command = (*ALONE, "--profile=50,1000000", f"--log_dir={run_.logs}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 100:" in job.output())
        os.kill(job.pid, signal.SIGHUP)
        assert job.end(20) == 143
    assert run_.saved() > 0
    assert list(run_.logs.glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.ranks
def test_signals_of_one_event_are_one(tmp_path: Path) -> None:
    # As Slurm cancels: ranks get it directly, and from their launcher once more.
    run_ = Run(tmp_path)
    with run_.start("local.sh") as job:
        os.killpg(job.pid, signal.SIGTERM)
        for pid in job.ranks().values():
            os.kill(pid, signal.SIGTERM)
        job.end(20)
    assert run_.saved() > 0


# As clusters and launchers deliver one event: to every process, once or several times.
SEQUENCES = [
    (names, gap)
    for names in (
        ("TERM", "TERM"),
        ("TERM", "USR1"),
        ("INT", "TERM"),
        ("TERM", "USR1", "INT"),
    )
    for gap in (0.0, 0.1, 1.0, 5.0)
]


def send_to_all(job: Job, name: str) -> None:
    """Sends a signal to every process of a job."""
    for pid in job.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[f"SIG{name}"])


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("launcher", [*LAUNCHERS, "srun"])
def test_any_sequence_of_signals_leaves_a_checkpoint(
    tmp_path: Path,
    launcher: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver = send_to_all
    if launcher == "srun":  # by Slurm: a signal to srun itself has Slurm kill its tasks
        site = request.getfixturevalue("site")
        srun = ("srun", "--nodes=2", "--ntasks=2", "--mpi=pmix")
        monkeypatch.setitem(LAUNCHERS, launcher, (*site.prefix("ctl"), *srun))

        def deliver(job: Job, name: str) -> None:
            site.run("scancel", "--user=root", f"--signal={name}")

    run_ = Run(tmp_path)
    for names, gap in [(("TERM",), 0.0), *SEQUENCES]:
        with run_.start(launcher) as job:
            reached = run_.logged()
            for number, name in enumerate(names):
                time.sleep(gap if number else 0)
                deliver(job, name)
            assert job.end(40) != 0
            assert run_.saved() >= reached, f"{names}, {gap} s apart:\n{job.output()}"


@pytest.mark.ranks
def test_ranks_that_differ_leave_no_checkpoint_at_a_signal(tmp_path: Path) -> None:
    own = "tests.testing.networks"
    flags = (f"--dataset={own}:POINTS", f"--model={own}:MovingMeanByRank")
    flags += ("--eval_every=0", "--checkpoint_every=0")  # nor before it
    command = (*MPIRUN, 2, *ALONE, *flags, f"--log_dir={tmp_path / 'logs'}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 50:" in job.output())
        os.kill(job.ranks()[1], signal.SIGTERM)
        assert job.end(20) == 2, job.output()
        assert "variable mean of rank 1 differs from rank 0's" in job.output()
    assert format.latest(RunDirectory(tmp_path / "logs")) is None


@pytest.mark.ranks
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    # A rank whose peer is frozen cannot complete a vote.
    with Run(tmp_path).start("mpirun") as job:
        os.kill(job.ranks()[1], signal.SIGSTOP)
        os.kill(job.ranks()[0], signal.SIGTERM)
        time.sleep(0.5)
        os.kill(job.ranks()[0], signal.SIGTERM)
        time.sleep(2.5)
        # A launcher and a cluster may both deliver one event, one later than the other.
        os.kill(job.ranks()[0], signal.SIGUSR1)
        time.sleep(1)
        assert 0 in job.ranks()
        os.kill(job.ranks()[0], signal.SIGTERM)
        assert job.end(12) == 143  # well before the end of the grace period


@pytest.mark.ranks
def test_the_grace_period_ends(tmp_path: Path) -> None:
    command = (*MPIRUN, 2, *ALONE, "--grace_seconds=2", f"--log_dir={tmp_path}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 50:" in job.output())
        os.kill(job.ranks()[1], signal.SIGSTOP)
        os.kill(job.ranks()[0], signal.SIGTERM)
        begin = time.monotonic()
        assert job.end(20) == 143
        assert time.monotonic() - begin > 1.5


@pytest.mark.ranks
def test_a_frozen_rank_is_named_and_ends_the_job(tmp_path: Path) -> None:
    command = (*MPIRUN, 3, *ALONE, "--stall_seconds=12", f"--log_dir={tmp_path}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 50:" in job.output())
        os.kill(job.ranks()[1], signal.SIGSTOP)
        assert job.end(60) == 1
        printed = messages(job.output())
    assert any("no answer from rank 1" in line for line in printed), printed
    assert "(--stall_seconds): aborting" in printed[-1]


@pytest.mark.ranks
def test_a_killed_rank_is_named(tmp_path: Path) -> None:
    # launch/openmpi-mca-params.conf hides its number, but not that it was killed.
    named = {"OMPI_MCA_orte_execute_quiet": "0"}
    with Run(tmp_path).start("local.sh", named) as job:
        os.kill(job.ranks()[1], signal.SIGKILL)
        assert job.end(20) == 137
        assert "process rank 1" in job.output()
        assert "signal 9" in job.output()
    quiet = {"OMPI_MCA_orte_execute_quiet": "1"}
    with Run(tmp_path).start("local.sh", quiet) as job:
        os.kill(job.ranks()[1], signal.SIGKILL)
        assert job.end(20) == 137
        assert "was killed (signal 9)" in job.output()


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    flags = ("--learning_rate=1e12", "--checkpoint_every=1", "--log_every=1")
    done = run((*ALONE, *flags, f"--log_dir={tmp_path}"), 1, cwd=tmp_path)
    (message,) = messages(done.stderr)
    assert "at step" in message
    found = format.latest(RunDirectory(tmp_path))
    if found:  # the one before the failure
        reader = tf.train.load_checkpoint(found.path)
        weights = reader.get_tensor("hidden1/weights")
        assert tf.reduce_all(tf.math.is_finite(weights))


def test_a_second_job_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"host": "gone", "pid": 1}')  # of a dead job
    command = (*ALONE, f"--log_dir={tmp_path}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 50:" in job.output())
        (message,) = messages(run(command, 2, cwd=tmp_path).stderr)
        assert f"in use by process {job.pid} on " in message
        # Of two ranks one waits for the other, longer than for a stall.
        waits = ("--lock_seconds=60", "--stall_seconds=2")
        with Job((*MPIRUN, 2, *command, *waits), tmp_path) as second:
            second.wait_for(lambda: "for its end" in second.output())
            time.sleep(4)
            assert second.running(), second.output()
            os.kill(job.pid, signal.SIGTERM)
            second.wait_for(lambda: "Resuming from checkpoint" in second.output())


def test_the_end_does_not_wait_for_a_rank_that_is_lost(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from distmnist.core.errors import InputError, on_all_ranks\n"
        "from distmnist.distributed.connect import connect\n"
        "cluster = connect(600)\n"
        "if cluster.rank: os.kill(os.getpid(), signal.SIGSTOP)\n"
        "cluster.fail(on_all_ranks(InputError('it is over')))"
    )
    with Job((*MPIRUN, 2, sys.executable, "-c", program), tmp_path) as job:
        assert job.end(90) == 2
        assert "distmnist: it is over" in job.output()


@pytest.mark.parametrize("small_disk", ["3m"], indirect=True)
@pytest.mark.parametrize(
    "filled_by", ["--checkpoint_every=0 --log_every=1", "--checkpoint_every=1"]
)
def test_a_disk_that_fills_up_during_the_run(small_disk: Path, filled_by: str) -> None:
    logs = small_disk / "logs"
    flags = ("--keep_checkpoints=100", "--eval_every=0", f"--log_dir={logs}")
    command = (*TRAIN, "--dataset=digits", "--log_every=100", *flags)
    run((*command, "--max_steps=100"), cwd=small_disk.parent)
    endless = (*command, "--max_steps=1000000", *filled_by.split())
    done = run(endless, 1, cwd=small_disk.parent, timeout=100)
    (message,) = messages(done.stderr)
    assert "No space left" in message
    assert format.latest(RunDirectory(logs))  # and it is complete
    assert not list(logs.glob(".model*"))


def test_a_directory_that_becomes_read_only_during_the_run(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    # Root may write anywhere, unless it drops that capability.
    prefix = ("setpriv", "--bounding-set", "-dac_override", "--")
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("setpriv (of util-linux) is not installed")
    command = (*(prefix if os.geteuid() == 0 else ()), *ALONE, f"--log_dir={logs}")
    with Job(command, tmp_path) as job:
        job.wait_for(lambda: "Step 1000:" in job.output())
        job.wait_for(lambda: format.latest(RunDirectory(logs)))
        logs.chmod(0o555)
        try:
            assert job.end(60) == 1
            (message,) = messages(job.output())
        finally:
            logs.chmod(0o755)
    assert "cannot be written" in message and "Permission denied" in message
    assert format.latest(RunDirectory(logs))


def test_a_directory_that_is_moved_during_the_run(tmp_path: Path) -> None:
    run_ = Run(tmp_path)
    with run_.start("plain") as job:
        run_.logs.rename(tmp_path / "moved")
        assert job.end(60) == 1
        (message,) = messages(job.output())
    assert f"it is now {tmp_path}/moved/" in message and "--log_dir" in message
    assert not run_.logs.exists()
