"""Pods of a job that are deleted, killed or cut off: training ends, and continues.

Each event is tried DISTMNIST_TEST_TIMES times.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping

import pytest

from tests.launch import k8s_pods
from tests.launch.k8s_job import LONG, WORKERS, Job, job, pods

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


@pytest.mark.timeout(90 + 60 * TIMES)
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
