"""A job's pods start and end: the commands of k8s/, real ssh, MPI and ranks."""

from __future__ import annotations

import time

import pytest

from tests.launch.k8s import pods as k8s_pods
from tests.launch.k8s.job import (
    LONG,
    NAME,
    RANKS,
    WORKERS,
    Job,
    job,
    pods,
)
from tests.launch.k8s.pods import Pods

__all__ = ("job", "pods")  # fixtures

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]


def test_launcher_starts_first_and_trains_on_both_workers(job: Job) -> None:
    job.start_launcher("--dataset=fake", "--max_steps=200")
    time.sleep(3)
    assert job.launcher.poll() is None
    assert job.launcher.log == ""
    job.start_workers()
    status = job.launcher.wait(90)
    logs = [worker.log for worker in job.workers.values()]
    assert status == 0, "\n".join((job.launcher.log, *logs))
    assert "Step 200: loss = " in job.launcher.log
    assert job.records("eval")[-1]["size"] == 2
    assert job.log_dir.stat().st_uid == 1000
    assert all("Accepted publickey for distmnist" in log for log in logs)


def test_waiting_for_workers_times_out(job: Job) -> None:
    wait = job.launcher_command()[:1]
    names = "127.0.0.1 localhost\n"  # the DNS has no workers yet
    job.run_launcher(*wait, "--seconds", "0", "true", names=names)
    assert job.launcher.wait(30) == 1
    assert "0 of 2 workers answer, 2 required; rehearsal-worker-0" in job.launcher.log
    assert "Could not resolve hostname" in job.launcher.log
    job.run_launcher(*wait, "--seconds", "1", "true")
    assert job.launcher.wait(60) == 1
    assert "0 of 2 workers answer, 2 required; rehearsal-worker-0" in job.launcher.log
    job.start_worker(WORKERS[1])
    job.run_launcher(*wait, "--at-least", "1", "echo", "go")
    assert job.launcher.wait(60) == 0
    assert job.launcher.log == "go\n"


def test_elastic_job_starts_with_one_worker_and_adds_another(pods: Pods) -> None:
    job = Job(pods, {"workers": 2, "elastic": True, "training": LONG})
    script = "#!/bin/sh\n" + "".join(
        f"echo {worker}.{NAME}-worker.default.svc\n" for worker in WORKERS
    )
    pods.add_file(f"{NAME}-launcher", "discover_hosts.sh", script)
    job.start_worker(WORKERS[1])  # the first is missing
    job.start_launcher()
    job.wait_for(lambda: "[0]<stdout>:Step 40:" in job.launcher.log, 90)
    job.start_worker(WORKERS[0])
    metrics = job.log_dir / "metrics.jsonl"
    job.wait_for(lambda: '"size": 2' in metrics.read_text(), 90)


# --- stop_ranks.sh ---------------------------------------------------------------

STOP = "/opt/distmnist/launch/stop_ranks.sh"
# A user's own program.
OWN = "from distmnist import train; train.main()"


def run_program(job: Job, *words: str) -> None:
    """Runs a program on both workers, instead of that of the manifest."""
    command = job.launcher_command()
    job.run_launcher(*command[: command.index("python")], *words)


@pytest.mark.parametrize("wrapper", ["", "sleep 1000 & "])
def test_ranks_of_ones_own_program_are_stopped_with_a_checkpoint(
    job: Job, wrapper: str
) -> None:
    """In a script, too, which is not killed, nor is a process that it has started."""
    script = f'{wrapper}python -c "$0" "$@"; status=$?; kill $!; exit $status'
    command = (*LONG, f"--log_dir=/data/logs/{NAME}")
    words = (
        ("sh", "-c", script, OWN, *command)
        if wrapper
        else ("python", "-c", OWN, *command)
    )
    job.start_workers()
    run_program(job, *words)
    step = job.train()
    worker = job.workers[WORKERS[0]]
    assert job.left()
    done = worker.exec([STOP])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not worker.exec(RANKS).stdout
    assert job.launcher.wait(20) == 143, job.launcher.log
    assert job.checkpoint() >= step


def test_what_a_rank_has_started_ends_its_work_before_a_worker_stops(job: Job) -> None:
    """Such as an upload; it has the environment of the rank."""
    upload = "sleep 6; echo done >/data/upload"
    code = f"""
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
subprocess.Popen(["sh", "-c", "{upload}"], start_new_session=True)
open("/data/started", "w")
time.sleep(1000)
"""
    job.start_workers()
    run_program(job, "python", "-c", code)
    job.wait_for((job.pods.data / "started").exists)
    assert job.workers[WORKERS[0]].stop() == 0  # within the grace period
    assert (job.pods.data / "upload").read_text() == "done\n"


def test_a_rank_that_handles_no_signal_is_ended(job: Job) -> None:
    job.start_workers()
    run_program(job, "sh", "-c", "touch /data/started; sleep 1000; true")
    job.wait_for((job.pods.data / "started").exists)
    assert job.workers[WORKERS[0]].stop() == 0
    assert job.launcher.wait(20) != 0


def test_without_ranks_there_is_nothing_to_stop(job: Job) -> None:
    job.start_worker(WORKERS[0])
    job.run_launcher(*job.launcher_command()[:1], "--at-least", "1", "true")
    assert job.launcher.wait(30) == 0
    worker = job.workers[WORKERS[0]]
    assert worker.exec([STOP]).returncode == 0
    assert "--help" in worker.exec([STOP, "1"]).stderr
    assert worker.exec([STOP, "--help"]).stdout.startswith("Usage: ")
    assert worker.stop() == 0
