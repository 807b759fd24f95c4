"""Pods of a job that are deleted, killed or cut off: training ends, and continues.

Each event is tried DISTMNIST_TEST_TIMES times.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Mapping

import pytest

from tests.launch.k8s import pods as k8s_pods
from tests.launch.k8s.job import LONG, WORKERS, Job, job, pods

__all__ = ("job", "pods")  # fixtures

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.slow,
    pytest.mark.skipif(bool(k8s_pods.missing()), reason=k8s_pods.missing()),
]

TIMES = int(os.environ.get("DISTMNIST_TEST_TIMES", "1"))
# Checkpoints only when a signal comes; and often, for what gives no time.
NEVER = (*LONG, "--checkpoint_every=0")
OFTEN = (*LONG, "--checkpoint_every=20")


def stop_together(job: Job, delays: Mapping[str, float]) -> dict[str, int]:
    """Stops pods at the same time, each on a node of its own.

    Args:
        job: of the pods.
        delays: seconds until each node hears of it, by name of the pod.

    Returns:
        The exit statuses.
    """
    statuses: dict[str, int] = {}

    def stop(name: str, delay: float) -> None:
        time.sleep(delay)
        pod = job.workers.get(name, job.launcher)
        statuses[name] = pod.stop()

    threads = [threading.Thread(target=stop, args=item) for item in delays.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


@pytest.mark.timeout(200 + 150 * TIMES)
def test_a_deleted_job_saves_its_last_step(job: Job) -> None:
    """All pods are stopped at once, which signals each rank by two ways."""
    chance = random.Random(0)
    for _ in range(TIMES):
        job.start_workers()
        job.start_launcher(*NEVER)
        step = job.train()
        start = job.records("start")[-1]["step"]
        names = [job.launcher.name, *WORKERS]
        chance.shuffle(names)
        # Objects of a job are deleted one after another.
        delays = {name: chance.choice((0, 0.3, 1, 3)) for name in names}
        statuses = stop_together(job, delays)
        saved = job.checkpoint()
        print(f"stopped after {delays} s: {statuses}, saved step {saved}")
        log = f"{delays}\n{statuses}\n{job.launcher.log}"
        assert saved >= step > start, log
        assert f"stopped by SIGTERM at step {saved} with a checkpoint" in log
        assert job.reached() <= saved
        assert statuses == {job.launcher.name: 143, **dict.fromkeys(WORKERS, 0)}, log
    job.start_workers()
    job.start_launcher(*NEVER)
    job.train()
    starts = [line["step"] for line in job.records("start")]
    assert starts[-1] == saved
    assert len(starts) == TIMES + 1
    job.check_contiguous()


def check_continued(job: Job, step: int, starts: int) -> None:
    """Checks that the newest launcher has continued after a step, and trains."""
    job.train()
    assert len(job.records("start")) == starts, job.launcher.log
    assert job.records("start")[-1]["step"] >= step, job.launcher.log
    job.check_contiguous()


@pytest.mark.timeout(200 + 150 * TIMES)
def test_a_killed_worker_ends_the_job_which_continues(job: Job) -> None:
    job.start_workers()
    for i in range(TIMES):
        job.start_launcher(*OFTEN)
        job.train()
        step = job.checkpoint()
        name = WORKERS[1 - i % 2]
        job.workers[name].kill()
        assert job.launcher.wait(20) != 0
        assert not job.left()
        # The operator may start the next launcher before the worker.
        job.start_launcher(*OFTEN)
        time.sleep(2)
        job.start_worker(name)
        check_continued(job, step, 2 * i + 2)
        assert job.launcher.stop() == 143


@pytest.mark.timeout(200 + 150 * TIMES)
def test_ranks_of_a_killed_launcher_end_and_the_next_one_continues(job: Job) -> None:
    job.start_workers()
    job.start_launcher(*OFTEN)
    for i in range(TIMES):
        job.train()
        step = job.checkpoint()
        job.launcher.kill()
        end = time.monotonic() + 20
        while job.left():
            assert time.monotonic() < end, job.left()
            time.sleep(0.2)
        job.start_launcher(*OFTEN)
        check_continued(job, step, i + 2)


@pytest.mark.timeout(200 + 150 * TIMES)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_replaced_launcher_waits_for_the_ranks_of_the_old_one(
    job: Job, at_once: bool
) -> None:
    """A Job starts the next pod when one is deleted, not when that has ended."""
    waits = r"in use by process \d+ on rehearsal-worker-0: waiting up to 120 s"
    job.start_workers()
    job.start_launcher(*NEVER)
    for i in range(TIMES):
        step = job.train()
        old = job.launcher
        stop = threading.Thread(target=old.stop)
        if at_once:
            stop.start()
        job.start_launcher(*NEVER)
        if not at_once:  # such as one whose node has lost the network
            job.wait_for(lambda: bool(re.search(waits, job.launcher.log)))
            before = job.reached()
            job.wait_for(lambda before=before: job.reached() > before)
            assert "Step " not in job.launcher.log
            stop.start()
        stop.join()
        assert old.poll() == 143
        check_continued(job, step, i + 2)


@pytest.mark.timeout(200 + 150 * TIMES)
@pytest.mark.parametrize("with_launcher", [False, True])
def test_a_drained_node_ends_the_job_which_continues(
    job: Job, with_launcher: bool
) -> None:
    """All pods of a host are stopped; one with the launcher, or without."""
    job.start_workers()
    job.start_launcher(*NEVER)
    for i in range(TIMES):
        step = job.train()
        names = [job.launcher.name] * with_launcher + [WORKERS[i % 2]]
        statuses = stop_together(job, dict.fromkeys(names, 0))
        assert statuses[names[-1]] == 0
        assert job.launcher.wait(20) == 143, job.launcher.log
        assert not job.left()
        job.start_worker(names[-1])
        job.start_launcher(*NEVER)
        check_continued(job, step, i + 2)


@pytest.mark.timeout(300 + 200 * TIMES)
@pytest.mark.parametrize("name", ["worker", "launcher"])
def test_a_network_that_is_cut_for_30_s_heals_or_ends_the_job(
    job: Job, name: str
) -> None:
    """It ends if the launcher's keepalive gives up, after 30 to 60 s of silence."""
    job.start_workers()
    job.start_launcher(*OFTEN)
    for _ in range(TIMES):
        job.train()
        pod = job.launcher if name == "launcher" else job.workers[WORKERS[1]]
        starts = len(job.records("start"))
        pod.disconnect()
        time.sleep(30)
        step = job.reached()
        pod.reconnect()
        end = time.monotonic() + 150  # TCP sends again after up to twice the cut
        while job.launcher.poll() is None and job.reached() < step + 200:
            assert time.monotonic() < end, job.launcher.log
            time.sleep(0.1)
        print(f"the cut of a {name}: exit status {job.launcher.poll()}")
        if job.launcher.poll() is None:
            assert len(job.records("start")) == starts
        else:  # at once: ranks of the old one may still train
            step = job.checkpoint()
            job.start_launcher(*OFTEN)
            check_continued(job, step, starts + 1)
        job.check_contiguous()
    assert job.launcher.stop() == 143
    assert not job.left()


@pytest.mark.timeout(300)
def test_a_failed_node_ends_the_job_which_continues(job: Job) -> None:
    job.start_workers()
    job.start_launcher(*OFTEN)
    job.train()
    step = job.checkpoint()
    failed = job.workers[WORKERS[1]]
    failed.disconnect()
    assert job.launcher.wait(90) != 0  # keepalive: 30 s and 3 probes of 10 s
    failed.kill()
    job.start_worker(WORKERS[1])
    job.start_launcher(*OFTEN)
    check_continued(job, step, 2)
