"""Jobs that cannot start, on a real control plane: the reason, soon, in every mode."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest

from tests.launch.k8s.cluster import Object, wait_for
from tests.launch.k8s.kubelet import Kubelet
from tests.launch.k8s.team import Steps, Team

NAME = "distmnist"
SOON = 10  # seconds, in which the reason is printed once the cluster knows it
GIVEN_UP, TIMED_OUT, REFUSED = 1, 124, 2


def nothing(team: Team) -> None:
    """Prepares nothing."""


def set_quota(**hard: str) -> Callable[[Team], None]:
    """Returns what limits the namespace; "_" in a resource stands for "."."""
    spec = {"hard": {name.replace("_", "."): text for name, text in hard.items()}}

    def prepare(team: Team) -> None:
        team.create("ResourceQuota", "small", spec=spec)
        path = f"/api/v1/namespaces/{team.name}/resourcequotas/small"
        # It is not enforced before the controller has counted.
        wait_for(lambda: team.admin.ask("GET", path)["status"].get("hard"), team.show)

    return prepare


def limit_memory(team: Team) -> None:
    limit = {"type": "Container", "max": {"memory": "1Gi"}}
    team.create("LimitRange", "small", spec={"limits": [limit]})


def make_pending_claim(team: Team) -> None:
    team.create_claim("stuck", storageClassName="nobody")


def refuse_pods(team: Team) -> None:
    """Lets a policy refuse pods, as the webhooks of many clusters do."""
    refuse(team, "", "pods", "images must come from registry.internal")


def refuse_jobs(team: Team) -> None:
    """Lets a policy refuse the jobs themselves."""
    for group, plural in (("batch", "jobs"), ("kubeflow.org", "mpijobs")):
        refuse(team, group, plural, "label cost-center is missing")


def refuse(team: Team, group: str, plural: str, message: str) -> None:
    version = {"apiVersion": "admissionregistration.k8s.io/v1"}
    name = f"{team.name}-{plural}"
    rules = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": [plural],
    }
    policy = {
        **version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rules]},
            "validations": [{"expression": "false", "message": message}],
        },
    }
    namespace = {"kubernetes.io/metadata.name": team.name}
    binding = {
        **version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": namespace}},
        },
    }
    team.admin.create(policy)
    team.admin.create(binding)
    time.sleep(3)  # policies are compiled in the background


def waits(*reasons: str) -> Callable[[Team], bool]:
    """Returns whether a container waits for one of these reasons."""

    def known(team: Team) -> bool:
        statuses = [
            status
            for pod in team.pods()
            for status in pod["status"].get("containerStatuses", ())
        ]
        held = [status["state"].get("waiting", {}) for status in statuses]
        return any(state.get("reason") in reasons for state in held)

    return known


def unschedulable(team: Team) -> bool:
    conditions = [c for p in team.pods() for c in p["status"].get("conditions", ())]
    return any(c.get("reason") == "Unschedulable" for c in conditions)


def warned(team: Team) -> bool:
    """Returns whether something of the job could not be created."""
    return warned_of(team, "forbidden") or warned_of(team, "denied")


def warned_of(team: Team, text: str) -> bool:
    """Returns whether a warning about something of the job has a text."""
    events: list[Object] = team.admin.items(f"/api/v1/namespaces/{team.name}/events")
    return any(
        event["type"] == "Warning"
        and event["involvedObject"]["name"].startswith(NAME)
        and text in f"{event['reason']}: {event['message']}"
        for event in events
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A job that cannot start.

    Attributes:
        reason: what the user has to read, in any order.
        status: with which the submission ends.
        prepare: sets up the namespace.
        known: returns whether the cluster has the reason.
        flags: of the submission, in addition to the image.
        image: of the job; by default one that exists.
    """

    reason: tuple[str, ...]
    status: int
    prepare: Callable[[Team], None] = nothing
    known: Callable[[Team], bool] = warned
    flags: tuple[str, ...] = ()
    image: str = ""


CASES = {
    "image name": Case(
        ("InvalidImageName", "registry.example/aaa"),
        GIVEN_UP,
        known=waits("InvalidImageName"),
        image=f"registry.example/{300 * 'a'}:1",
    ),
    "image pull": Case(
        ("ImagePull", "registry.example/none:1", "not found"),
        GIVEN_UP,
        known=waits("ErrImagePull", "ImagePullBackOff"),
        image="registry.example/none:1",
    ),
    "quota": Case(("exceeded quota",), GIVEN_UP, set_quota(pods="0")),
    "quota with some pods": Case(
        ("exceeded quota",), TIMED_OUT, set_quota(requests_cpu="3"), flags=("two",)
    ),
    "claim pending": Case(
        ("volume claim is not bound",),
        TIMED_OUT,
        make_pending_claim,
        unschedulable,
        flags=("--pvc=stuck",),
    ),
    "no GPU": Case(
        ("nvidia.com/gpu",),
        TIMED_OUT,
        known=unschedulable,
        flags=("--gpus_per_worker=1",),
    ),
    "limit of memory": Case(
        ("maximum memory usage per Container is 1Gi",), GIVEN_UP, limit_memory
    ),
    "config map": Case(
        ("FailedMount", "missing", "not found"),
        TIMED_OUT,
        known=lambda team: warned_of(team, "FailedMount"),
        flags=("--config_map=missing",),
    ),
    "policy": Case(("images must come from registry.internal",), GIVEN_UP, refuse_pods),
}
KINDS = {"Job": "--workers=1", "MPIJob": "--workers=2"}


def cases() -> Iterator[object]:
    """Returns each case with the kinds of jobs that it can happen to."""
    for name, case in CASES.items():
        for kind in KINDS:
            if kind == "MPIJob" or "two" not in case.flags:
                yield pytest.param(case, KINDS[kind], id=f"{name}, {kind}")


def flags(case: Case, steps: Steps, workers: str) -> list[str]:
    given = [flag for flag in case.flags if flag != "two"]
    return [f"--image={case.image or steps.image}", workers, *given]


def wait_until_known(case: Case, team: Team) -> float:
    """Waits until the cluster knows the reason; returns when that was."""
    wait_for(lambda: case.known(team), team.show)
    return time.monotonic()


@pytest.mark.parametrize(("case", "workers"), list(cases()))
def test_the_reason_is_printed_soon_and_nothing_is_left(
    team: Team, steps: Steps, case: Case, workers: str
) -> None:
    case.prepare(team)
    run = team.start(*flags(case, steps, workers), "--timeout=20")
    known = wait_until_known(case, team)
    printed = run.wait_for(case.reason[0], SOON)
    assert printed - known < SOON
    run.end(case.status)
    for text in case.reason:
        assert text in run.lines()[-1]
    wait_for(lambda: not team.left(claims=False), lambda: team.left(), 60)


@pytest.mark.parametrize(("case", "workers"), list(cases()))
def test_a_detached_submission_prints_the_reason_too(
    team: Team, steps: Steps, case: Case, workers: str
) -> None:
    case.prepare(team)
    run = team.start(*flags(case, steps, workers), "--detach")
    known = wait_until_known(case, team)
    assert run.wait_for(case.reason[0], SOON) - known < SOON
    run.end(GIVEN_UP if case.status == GIVEN_UP else 0)
    for text in case.reason:
        assert text in run.lines()[-1]
    if case.status == GIVEN_UP:
        wait_for(lambda: not team.left(claims=False), lambda: team.left(), 60)
        return
    (state,) = team.submit(f"--status={NAME}").log
    assert case.reason[0] in state
    logs = team.start(f"--logs={NAME}")
    logs.wait_for(case.reason[0], 60)
    logs.interrupt()
    logs.end(130)
    assert team.left(claims=False)  # as the user asked


@pytest.mark.parametrize("workers", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", [(), ("--detach",)], ids=["follow", "detach"])
def test_a_job_that_a_policy_refuses_leaves_nothing(
    team: Team, steps: Steps, workers: str, mode: tuple[str, ...]
) -> None:
    refuse_jobs(team)
    line = team.submit(f"--image={steps.image}", workers, *mode, status=REFUSED).line()
    assert "label cost-center is missing" in line
    assert not team.left()


@pytest.mark.parametrize("workers", KINDS.values(), ids=KINDS)
def test_a_quota_of_jobs_refuses_the_job_itself(
    team: Team, steps: Steps, workers: str
) -> None:
    set_quota(**{"count/jobs_batch": "0", "count/mpijobs_kubeflow_org": "0"})(team)
    line = team.submit(f"--image={steps.image}", workers, status=REFUSED).line()
    assert "quota" in line
    assert not team.left()


@pytest.mark.parametrize(
    "image", ["a b:1", "", "registry.example/a:b:c", "registry.example/Upper:1"]
)
def test_an_image_that_cannot_be_is_refused_before_anything_is_created(
    team: Team, image: str
) -> None:
    for workers in KINDS.values():
        line = team.submit(f"--image={image}", workers, status=REFUSED).line()
        assert "flag --image" in line
    assert not team.left()


@pytest.mark.parametrize("mode", [(), ("--detach",)], ids=["follow", "detach"])
def test_a_missing_operator_is_said_at_once(
    bare_kubelet: Kubelet, mode: tuple[str, ...]
) -> None:
    with Team(bare_kubelet) as team:
        flags = ("--image=registry.example/x:1", "--workers=2", *mode)
        line = team.submit(*flags, status=REFUSED).line()
        assert "MPI Operator" in line
        assert not team.left()
