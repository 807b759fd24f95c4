"""The state of a job, derived from the objects that a cluster reports."""

from __future__ import annotations

from typing import Any

import pytest

from launch.submit.k8s import manifests, pending, state
from launch.submit.k8s import pods as pods_
from tests.launch.k8s.fake_api_server import Object
from tests.launch.k8s.objects import (
    NAME,
    ended,
    involved,
    running,
    unschedulable,
    waiting,
)

LAUNCHER, WORKER = f"{NAME}-launcher-abcde", f"{NAME}-worker-0"


def job(*conditions: tuple[str, str], **about: str) -> Object:
    """Returns a job with conditions, each a type and a status."""
    status = [{"type": type_, "status": status} for type_, status in conditions]
    return {
        "kind": "MPIJob",
        "metadata": {"name": NAME, "creationTimestamp": ""},
        "status": {"conditions": [{**condition, **about} for condition in status]},
    }


def test_the_state_is_one_line() -> None:
    mpi = {**job(), "spec": {"mpiReplicaSpecs": {"Worker": {"replicas": 2}}}}
    single = {**job(("Complete", "True")), "spec": {}}
    launcher, worker = running("launcher", LAUNCHER), running("worker", WORKER)
    held, over = waiting("launcher", LAUNCHER, "X", ""), ended("launcher", LAUNCHER, 3)
    for pod in (launcher, held, over):
        pod["metadata"]["creationTimestamp"] = ""
    for pods, expected in (
        (by_name(), "pending: no pods yet, workers 0/2 ready"),
        (by_name(held), f"pending: {LAUNCHER} X, workers 0/2 ready"),
        (by_name(launcher, worker), "running, workers 1/2 ready"),
        (by_name(over), "ended, workers 0/2 ready"),
    ):
        assert state.describe(mpi, pods) == expected
    assert state.describe(single, {}) == "done"
    failed = {**mpi, **job(("Failed", "True"), message="too often")}
    assert state.describe(failed, {}) == "failed: too often"
    about = f"failed: {LAUNCHER} Error: status 3"
    assert state.describe(failed, by_name(over)) == about


def by_name(*pods: Object) -> dict[str, Object]:
    return {pod["metadata"]["name"]: pod for pod in pods}


def event(about: str, reason: str, message: str, time: str = "") -> Object:
    return {
        "involvedObject": involved(about),
        "reason": reason,
        "message": message,
        "lastTimestamp": time,
    }


@pytest.mark.parametrize(
    ("conditions", "ended"),
    [
        ([], None),
        ([("Created", "True"), ("Running", "True")], None),
        ([("Running", "False"), ("Succeeded", "True")], "Succeeded"),
        ([("Complete", "True")], "Complete"),
        ([("Failed", "True")], "Failed"),
        ([("Failed", "False")], None),
    ],
)
def test_a_job_ends_with_a_condition_that_is_true(
    conditions: list[tuple[str, str]], ended: str | None
) -> None:
    condition = state.ended(job(*conditions))
    assert (condition and condition["type"]) == ended


def test_a_job_without_a_status_has_not_ended() -> None:
    assert state.ended({"metadata": {"name": NAME}}) is None


def test_launchers_have_the_log_oldest_first() -> None:
    pods = by_name(
        running("worker", WORKER),
        running("launcher", "second"),
        running("launcher", "first"),
    )
    for name, time in (("first", "01:00"), ("second", "02:00")):
        pods[name]["metadata"]["creationTimestamp"] = f"2026-01-01T{time}:00Z"
    names = [pod["metadata"]["name"] for pod in pods_.with_log(pods)]
    assert names == ["first", "second"]


def test_a_pod_starts_and_ends_with_its_container() -> None:
    pending = unschedulable(WORKER, "0/1 nodes are available")
    assert not pods_.has_started(pending)
    assert not pods_.has_ended(pending)
    assert pods_.container(pending) == {}
    assert pods_.has_started(running("worker", WORKER))
    assert not pods_.has_ended(running("worker", WORKER))
    never = ended("launcher", LAUNCHER, 137, "ContainerStatusUnknown")
    assert not pods_.has_started(never)
    assert pods_.has_ended(never)
    for code in (0, 1):
        assert pods_.has_started(ended("launcher", LAUNCHER, code))
        assert pods_.has_ended(ended("launcher", LAUNCHER, code))


def test_counts_the_ready_pods_that_have_ranks() -> None:
    pods = by_name(
        running("launcher", LAUNCHER),
        running("worker", WORKER),
        waiting("worker", f"{NAME}-worker-1", "ContainerCreating", ""),
    )
    mpi = {**job(), "spec": {"mpiReplicaSpecs": {"Worker": {"replicas": 2}}}}
    trainjob = {**job(), "kind": "TrainJob", "spec": {"trainer": {"numNodes": 3}}}
    for thing, ready, workers in ((mpi, 1, 2), (trainjob, 2, 3)):
        found = state.summarize(thing, pods)
        assert (found["ready"], found["workers"]) == (ready, workers)


SCARCE = "0/9 nodes are available: 3 Insufficient cpu, 6 Insufficient nvidia.com/gpu."
TAINTS = "0/3 nodes are available:\n3 node(s) had untolerated taints."
WAITING: dict[str, tuple[list[Object], str]] = {
    "resources": (
        [unschedulable(WORKER, SCARCE)],
        f"{WORKER} Unschedulable: not enough cpu, nvidia.com/gpu",
    ),
    "taints": (
        [unschedulable(WORKER, TAINTS)],
        f"{WORKER} Unschedulable: {' '.join(TAINTS.split())}",
    ),
    "several pods": (
        [unschedulable(WORKER, SCARCE), unschedulable("other", SCARCE)],
        f"{WORKER} Unschedulable: not enough cpu, nvidia.com/gpu (and 1 more)",
    ),
    "an image": (
        [waiting("worker", WORKER, "ErrImagePull", "not found")],
        f"{WORKER} ErrImagePull: not found",
    ),
    "without a message": (
        [waiting("worker", WORKER, "ContainerCreating", "")],
        f"{WORKER} ContainerCreating",
    ),
    "initialization": (
        [waiting("worker", WORKER, "PodInitializing", "")],
        "starting",
    ),
    "nothing": ([running("worker", WORKER)], "starting"),
    "no pods": ([], "no pods yet"),
}


@pytest.mark.parametrize("case", WAITING)
def test_says_what_a_job_waits_for(case: str) -> None:
    pods, text = WAITING[case]
    assert pending.waits(job(), by_name(*pods), []).reason == text


def test_a_suspended_job_waits_in_its_queue() -> None:
    suspended = job(("Suspended", "True"))
    assert pending.waits(suspended, {}, []) == ("suspended in its queue", "")
    resumed = job(("Suspended", "False"))
    assert pending.waits(resumed, {}, []) == ("no pods yet", "")


def test_a_job_that_no_controller_has_seen_asks_for_it() -> None:
    new = {**job(), "kind": "MPIJob", "status": {}}
    assert pending.waits(new, {}, []).reason == (
        "no pods yet: is the MPI Operator running?"
    )
    assert pending.waits({**new, "kind": "Job"}, {}, []).reason == "no pods yet"


def test_a_job_without_pods_waits_for_what_its_newest_event_says() -> None:
    events = [
        event(NAME, "FailedCreate", "older", "2026-01-01T00:00:00Z"),
        event(f"{NAME}-launcher", "FailedCreate", "new\nest", "2026-01-03T00:00:00Z"),
        event(f"{NAME}2", "FailedCreate", "of another", "2026-01-04T00:00:00Z"),
        event(f"{NAME}-2", "FailedCreate", "is forbidden", "2026-01-05T00:00:00Z"),
        event(f"{NAME}-2-worker-0", "FailedCreate", "denied", "2026-01-06T00:00:00Z"),
    ]
    events[3]["involvedObject"]["kind"] = "MPIJob"
    warnings = pending.newest_first(events)
    assert warnings == events[:0:-1] + events[:1]
    assert pending.waits(job(), {}, warnings).reason == "FailedCreate: new est"
    # Events of an earlier job of the same name.
    later = job()
    later["metadata"]["creationTimestamp"] = "2026-01-03T00:00:01Z"
    assert pending.waits(later, {}, warnings).reason == "no pods yet"


def test_the_time_of_an_event_has_several_forms() -> None:
    second, micro = "2026-01-03T00:00:00Z", "2026-01-03T00:00:00.000001Z"
    times: list[dict[str, Any]] = [
        {"lastTimestamp": second, "eventTime": None},
        {"lastTimestamp": None, "eventTime": micro},
        {"eventTime": "2020", "series": {"lastObservedTime": micro}},
    ]
    new = job()
    new["metadata"]["creationTimestamp"] = second
    for time in times:
        warnings = [{**event(NAME, "Why", "so"), **time}]
        assert pending.waits(new, {}, warnings).reason == "Why: so"


@pytest.mark.parametrize(
    ("reason", "message", "outlook"),
    [
        ("InvalidImageName", "", "vain"),
        ("CreateContainerConfigError", 'secret "x" not found', "vain"),
        ("ErrImagePull", "pull access denied, repository does not exist", "vain"),
        ("ImagePullBackOff", "Back-off pulling image", "poor"),
        ("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout", "poor"),
        ("ErrImagePull", 'pull "not-found/forbidden:1": i/o timeout', "poor"),
        ("ContainerCreating", "", ""),
        ("CrashLoopBackOff", "", ""),
    ],
)
def test_knows_which_pods_cannot_start(reason: str, message: str, outlook: str) -> None:
    held = waiting("worker", WORKER, reason, message)
    held["spec"]["containers"][0]["image"] = "not-found/forbidden:1"
    wait = pending.waits(job(), by_name(running("launcher", LAUNCHER), held), [])
    assert wait.outlook == outlook
    assert wait.reason == f"{WORKER} {reason}{message and ': '}{message}"


@pytest.mark.parametrize(
    ("message", "outlook"),
    [
        ('MountVolume.SetUp failed for volume "own": configmap "x" not found', "poor"),
        ("Unable to attach or mount volumes: timed out", ""),
    ],
)
def test_knows_which_volume_a_pod_waits_for(message: str, outlook: str) -> None:
    held = waiting("worker", WORKER, "ContainerCreating", "")
    others = event("another", "FailedMount", "of another pod")
    mount = event(WORKER, "FailedMount", message)
    wait = pending.waits(job(), by_name(held), [others, mount])
    assert wait == (f"{WORKER} FailedMount: {message}", outlook)


QUOTA = (
    'pods "x" is forbidden: exceeded quota: team, requested: {requested}, used: '
    "pods=3,requests.memory=1Gi, limited: pods=3,requests.memory=1536Mi"
)


@pytest.mark.parametrize(
    ("requested", "outlook"),
    [
        ("pods=1", ""),
        ("requests.memory=1Gi", ""),
        ("pods=1,requests.memory=2Gi", "vain"),
        ("requests.memory=1600M", ""),
        ("requests.memory=1700M", "vain"),
    ],
)
def test_a_quota_may_have_room_later(requested: str, outlook: str) -> None:
    refused = event(NAME, "FailedCreate", QUOTA.format(requested=requested))
    wait = pending.waits(job(), {}, [refused])
    assert wait.outlook == outlook
    assert wait.reason.startswith("quota of the namespace exceeded: pods")


def test_a_refusal_before_the_newest_pod_is_over() -> None:
    refused = event(NAME, "FailedCreate", "is forbidden", "2026-01-03T00:00:00Z")
    worker = running("worker", WORKER)
    for time, outlook in (("00:00:00", "vain"), ("00:00:01", "")):
        worker["metadata"]["creationTimestamp"] = f"2026-01-03T{time}Z"
        assert pending.waits(job(), by_name(worker), [refused]).outlook == outlook


def test_a_claim_that_is_not_bound_has_advice() -> None:
    unbound = (
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )
    wait = pending.waits(job(), by_name(unschedulable(WORKER, unbound)), [])
    assert wait.outlook == "" and wait.reason.endswith(
        "give an existing claim as --pvc"
    )


def test_the_summary_is_json() -> None:
    mpi = {**job(), "spec": {"mpiReplicaSpecs": {"Worker": {"replicas": 2}}}}
    assert state.summarize(mpi, by_name(running("worker", WORKER))) == {
        "name": NAME,
        "kind": "MPIJob",
        "state": "pending",
        "reason": "starting",
        "status": None,
        "workers": 2,
        "ready": 1,
    }
    failed = {**mpi, **job(("Failed", "True"))}
    found = state.summarize(failed, by_name(ended_launcher(3)))
    assert (found["state"], found["status"]) == ("failed", 3)


def failed(**status: Any) -> dict[str, Object]:
    """Returns a failed launcher, and a worker whose status is changed."""
    worker = running("worker", WORKER)
    worker["status"].update(status)
    return by_name(ended_launcher(1), worker)


def ended_launcher(code: int, name: str = LAUNCHER, time: str = "") -> Object:
    launcher = ended("launcher", name, code)
    launcher["metadata"]["creationTimestamp"] = time
    return launcher


def test_a_worker_explains_the_failure_of_its_launcher() -> None:
    pod, reason = state.failure(failed(reason="Evicted", message="low on\nmemory"))
    assert pod is not None
    assert pod["metadata"]["name"] == WORKER
    assert reason == f"{WORKER} Evicted: low on memory"
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    for when in ("state", "lastState"):
        _, reason = state.failure(failed(containerStatuses=[{when: killed}]))
        assert reason == f"{WORKER} OOMKilled: exceeded its memory limit, 2Gi"


def test_the_newest_launcher_explains_a_failure_of_the_training() -> None:
    pods = by_name(
        ended_launcher(1, "first", "2026-01-01T00:00:00Z"),
        ended_launcher(2, "second", "2026-01-02T00:00:00Z"),
    )
    pod, reason = state.failure(pods)
    assert pod == pods["second"]
    assert reason == "second Error: status 2"
    assert state.exit_status(pods) == 2


def test_a_job_that_runs_or_succeeded_has_no_failure() -> None:
    assert state.failure(by_name(ended_launcher(0))) == (None, "")
    assert state.exit_status(by_name(ended_launcher(0))) == 0
    started = running("launcher", LAUNCHER)
    started["metadata"]["creationTimestamp"] = ""
    assert state.failure(by_name(started)) == (None, "")
    assert state.exit_status(by_name(started)) is None
    assert state.exit_status({}) is None


def test_jobs_of_others_have_other_fields() -> None:
    single = {**job(), "spec": {"mpiReplicaSpecs": {"Launcher": {"template": {}}}}}
    default = {**job(), "spec": {"mpiReplicaSpecs": {"Worker": {}}}}
    trainjob = {**job(), "kind": "TrainJob", "spec": {}}
    for thing, workers in ((single, 0), (default, 1), (trainjob, 0)):
        assert state.workers(thing) == workers
    container = {"containers": [{"name": "mpi"}]}
    single["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"] = container
    assert manifests.training_flags(single) == []


def test_the_status_of_a_job_that_has_timed_out_is_that_of_following_it() -> None:
    over = job(("Failed", "True"), reason="DeadlineExceeded")
    found = state.summarize({**over, "spec": {}}, {})
    assert (found["status"], found["reason"]) == (124, "timed out")
