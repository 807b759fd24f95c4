"""Jobs on a real Slurm: real srun, sbatch and mpirun, on two nodes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.slurm.site import Site, records
from tests.launching import MPIRUN, TRAIN, run

pytestmark = pytest.mark.ranks

DATA = ("--dataset=digits", "--hidden1=16", "--hidden2=8", "--batch_size=20")
EVERY = 10
# Long enough for an event in the middle.
LONG = (*DATA, f"--log_every={EVERY}", f"--steps_per_call={EVERY}", "--eval_every=0")
LAUNCHERS = ("srun", "mpirun")
# How often each event is tried.
TIMES = int(os.environ.get("DISTMNIST_TEST_TIMES", "1"))


@pytest.mark.timeout(300)
def test_jobs_on_two_nodes_compute_what_one_host_does(
    site: Site, tmp_path: Path
) -> None:
    flags = (*DATA, "--max_steps=40", "--eval_every=0", "--log_every=20")
    for size in (4, 2):
        host = tmp_path / f"host-{size}"
        run((*MPIRUN, size, *TRAIN, *flags, f"--log_dir={host}"))
        expected = [line["metrics"] for line in records(host, "eval")]
        for launcher in LAUNCHERS:
            log_dir = tmp_path / f"{launcher}-{size}"
            output = site.submit(
                *("--nodes=2", f"--workers_per_node={size // 2}"),
                *(f"--launcher={launcher}", f"--name={launcher}", "--"),
                *(*flags, f"--log_dir={log_dir}"),
            )
            each = size // 2
            assert f"Workers: {size} ({each} on n1, {each} on n2)" in output
            assert "Step 40: loss" in output  # followed to the end
            assert re.search(rf"submit_slurm: {launcher} \(\d+\): completed", output)
            assert [line["metrics"] for line in records(log_dir, "eval")] == expected
            assert re.fullmatch(r"Slurm \d+", records(log_dir, "start")[0]["job"])
            assert (log_dir / f"{launcher}.sbatch").exists()
    status = site.submit(f"--status={LAUNCHERS[0]}")
    assert re.fullmatch(r"srun \(\d+\): completed, step 40, loss \S+\n", status)
    found = json.loads(site.submit(f"--status={LAUNCHERS[0]}", "--json"))
    assert (found["state"], found["status"], found["step"]) == ("completed", 0, 40)


def test_what_slurm_refuses_is_told_with_its_reason(site: Site, tmp_path: Path) -> None:
    training = ("--", *DATA, f"--log_dir={tmp_path}")
    refused = {
        "--partition=nope": "invalid partition specified: nope",
        "--constraint=nope": "Invalid feature specification",
        "--memory_per_node=9999G": "Memory specification can not be satisfied",
    }
    for flag, reason in refused.items():
        output = site.submit(flag, *training, status=2)
        assert reason in output and len(output.splitlines()) == 1
    begin = time.monotonic()
    output = site.submit("--nodes=5", "--name=never", *training, status=1)
    assert "never cannot start (PartitionConfig), and was cancelled" in output
    assert time.monotonic() - begin < 10
    failed = site.submit(
        "--name=bad", "--", "--dataset=digits", "--model=a:b", status=2
    )
    assert "cannot import a" in failed
    assert "there is no job none" in site.submit("--logs=none", status=2)


def test_srun_without_pmix_is_told_in_one_line(site: Site) -> None:
    for kind in ("none", "pmi2"):
        done = site.run("srun", "-N2", "-n2", f"--mpi={kind}", *TRAIN, *DATA)
        assert done.returncode == 2
        (line,) = (n for n in done.stderr.splitlines() if not n.startswith("srun:"))
        assert "srun started 2 tasks without PMIx: use srun --mpi=pmix" in line


def start(site: Site, launcher: str, log_dir: Path, *flags: str) -> str:
    """Submits a job without an end, and waits until it trains; returns its number."""
    output = site.submit(
        *("--nodes=2", f"--launcher={launcher}", f"--name={launcher}", "--detach"),
        *("--", *LONG, "--max_steps=100000000", f"--log_dir={log_dir}", *flags),
    )
    number = re.findall(r"as job (\d+)", output)[0]
    train(site, log_dir, 0)
    return str(number)


def started(
    site: Site, tmp_path: Path, launcher: str
) -> Iterator[tuple[str, Path, int]]:
    """Yields jobs without periodic checkpoints: number, run directory, a step taken."""
    for time_ in range(TIMES):
        log_dir = tmp_path / str(time_)
        number = start(site, launcher, log_dir, "--checkpoint_every=0")
        yield number, log_dir, reached(log_dir)


def train(site: Site, log_dir: Path, before: int) -> int:
    """Waits until a job has taken some steps; returns the last of them."""
    steps = before + 4 * EVERY
    site.wait(lambda: reached(log_dir) >= steps, log_dir, 90)
    return reached(log_dir)


def wait_for_start(site: Site, log_dir: Path, restarts: int) -> None:
    """Waits until a job has been started again so often, and trains."""
    site.wait(lambda: len(records(log_dir, "start")) > restarts, log_dir, 240)


def reached(log_dir: Path) -> int:
    """Returns the last step in the metrics; 0 without one."""
    found = records(log_dir, "train")
    return found[-1]["step"] if found else 0


def checkpoint(log_dir: Path) -> int:
    """Returns the step of the newest checkpoint; -1 without one."""
    found = log_dir.glob("model.ckpt-*.index")
    return max((int(p.stem.rpartition("-")[2]) for p in found), default=-1)


def cancel(site: Site, number: str, log_dir: Path) -> None:
    """Cancels a job; nothing of it may be left on any node."""
    site.run("scancel", number)
    site.wait(lambda: site.job(number).state == "CANCELLED", log_dir, 60)
    assert not site.run("pgrep", "-af", "distmnist.train").stdout


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.timeout(60 + 120 * TIMES)
def test_a_cancelled_job_saves_and_is_not_requeued(
    site: Site, tmp_path: Path, launcher: str
) -> None:
    for number, log_dir, step in started(site, tmp_path, launcher):
        output = site.submit(f"--delete={launcher}")
        assert "was cancelled; its run directory is kept" in output
        cancel(site, number, log_dir)
        assert checkpoint(log_dir) >= step
    assert site.submit(f"--logs={number}", status=143)


def preempt(site: Site, number: str, seconds: int) -> None:
    """Lets a job with precedence take the nodes, with a grace time."""
    site.run("scontrol", "update", "PartitionName=low", f"GraceTime={seconds}")
    site.run("sbatch", "-p", "high", "-N2", "--exclusive", "--wrap=sleep 1")


def lose(site: Site, number: str) -> None:
    """Ends a node of a job, and starts it again when Slurm has noticed."""
    node = f"n{1 + site.job(number).restarts % 2}"
    site.crash(node)
    site.wait(lambda: site.job(number).state != "RUNNING", site.directory, 60)
    site.boot(node)


def limit(site: Site, number: str) -> None:
    """Sets a time limit, of which the signal comes within a minute; for this start."""
    set_limit = ("scontrol", "update", f"JobId={number}")
    _, minutes, seconds = map(int, site.job(number).seconds.split(":"))
    site.run(*set_limit, f"TimeLimit={round(minutes + seconds / 60) + 2}")
    site.wait(lambda: site.job(number).state != "RUNNING", site.directory, 120)
    site.run(*set_limit, "TimeLimit=30")


EVENTS: dict[str, Callable[[Site, str], object]] = {
    "preempted": lambda site, number: preempt(site, number, 30),
    "preempted at once": lambda site, number: preempt(site, number, 0),
    "requeued": lambda site, number: site.run("scontrol", "requeue", number),
    "time limit": limit,
    "node lost": lose,
}


@pytest.mark.slow
@pytest.mark.timeout(120 + 250 * TIMES)
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("event", EVENTS)
def test_a_job_that_is_interrupted_continues_by_itself(
    site: Site, tmp_path: Path, launcher: str, event: str
) -> None:
    # At once, Open MPI's mpirun gets several signals, and ends its ranks.
    mpirun_ends = (launcher, event) == ("mpirun", "preempted at once")
    leaves_time = event != "node lost" and not mpirun_ends
    every = 0 if leaves_time else 2 * EVERY  # fewer than `train` waits for
    number = start(site, launcher, tmp_path, f"--checkpoint_every={every}")
    for restarts in range(1, TIMES + 1):
        step = reached(tmp_path) if leaves_time else checkpoint(tmp_path)
        assert step > 0
        EVENTS[event](site, number)
        wait_for_start(site, tmp_path, restarts)
        resumed = records(tmp_path, "start")[restarts]
        assert resumed["step"] >= step
        assert resumed["job"] == f"Slurm {number}, restart {restarts}"
        train(site, tmp_path, resumed["step"])
    steps = [line["step"] for line in records(tmp_path, "train")]
    assert steps == list(range(EVERY, steps[-1] + 1, EVERY))
    cancel(site, number, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(60 + 250 * TIMES)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_whose_step_daemon_is_killed_continues_by_itself(
    site: Site, tmp_path: Path, launcher: str
) -> None:
    for number, log_dir, step in started(site, tmp_path, launcher):
        pattern = rf"slurmstepd: \[{number}\.0\]"
        site.run("pkill", "-KILL", "-f", pattern, host="n2")
        wait_for_start(site, log_dir, 1)
        assert records(log_dir, "start")[1]["step"] >= step
        cancel(site, number, log_dir)
