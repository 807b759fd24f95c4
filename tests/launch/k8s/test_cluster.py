"""launch/submit_k8s on a real control plane: rights, admission, ownership, deletion."""

from __future__ import annotations

import base64
import shutil

import pytest

from launch.submit.k8s.manifests import K8S
from tests.launch.k8s.cluster import wait_for
from tests.launch.k8s.team import Steps, Team
from tests.launch.k8s.team import steps as numbers
from tests.launching import run as run_command

NAME = "distmnist"
RUNNING = f"{NAME}: running"
CLAIM = f"PersistentVolumeClaim/{NAME}"
SINGLE = "--workers=1"
TWO = "--workers=2"
# Of each kind of job: the flag, and the role.
KINDS = {"Job": (SINGLE, "jobs"), "MPIJob": (TWO, "mpijobs")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_with_the_rights_of_a_kind_alone_submits_follows_and_deletes(
    team: Team, steps: Steps, kind: str
) -> None:
    workers, role = KINDS[kind]
    team.allow(role, "claims")
    run = team.start(f"--image={steps.image}", workers)
    run.wait_for(RUNNING)
    wait_for(lambda: run.log, lambda: run)
    steps.finish()
    run.end(0)
    assert f"submit_k8s: {NAME} was submitted to namespace {team.name}" in run.lines()
    assert f"{NAME}: done, step" in run.lines()[-1]
    assert numbers(run.log) == list(range(1, len(run.log) + 1))
    again = team.submit(f"--logs={NAME}")
    assert again.log == run.log
    assert f"{NAME}: done, step" in team.submit(f"--status={NAME}").log[0]
    team.submit(f"--delete={NAME}")
    team.assert_only(CLAIM)
    gone = team.submit(f"--delete={NAME}", status=2)
    assert f"no job {NAME} in namespace {team.name}" in str(gone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_that_is_there_needs_no_right_to_create_one(
    team: Team, steps: Steps, kind: str
) -> None:
    workers, role = KINDS[kind]
    team.allow(role)
    flags = (f"--image={steps.image}", workers)
    refused = team.submit(*flags, status=2)
    (line,) = refused.lines()
    assert "persistentvolumeclaims" in line
    assert "cannot create" in line or "not found" in line
    assert not team.left()
    steps.finish()
    for name, flag in ((NAME, ()), ("mine", ("--pvc=mine",))):
        team.create_claim(name)
        run = team.submit(*flags, f"--name=with-{name}", *flag)
        assert f"with-{name}: done" in run.lines()[-1]


def test_what_a_user_may_not_do_is_said_in_one_line(team: Team, steps: Steps) -> None:
    flags = (f"--image={steps.image}", "--detach")
    for workers, plural, other in (
        (SINGLE, "jobs", "mpijobs"),
        (TWO, "mpijobs", "jobs"),
    ):
        team.allow(other, "claims", user=f"only-{other}")
        line = team.submit(*flags, workers, status=2).line()
        assert f'cannot create resource "{plural}"' in line
        assert "forbidden" in line
    assert not team.left()


def test_a_job_of_the_same_name_is_not_changed(team: Team, steps: Steps) -> None:
    flags = (f"--image={steps.image}", SINGLE, "--detach")
    team.submit(*flags)
    path = f"/apis/batch/v1/namespaces/{team.name}/jobs/{NAME}"
    uid = team.admin.ask("GET", path)["metadata"]["uid"]
    line = team.submit(*flags, status=2).line()
    assert f"a job {NAME} exists in namespace {team.name}" in line
    assert team.admin.ask("GET", path)["metadata"]["uid"] == uid


def test_an_unknown_namespace_is_said_in_one_line(team: Team, steps: Steps) -> None:
    flags = (f"--image={steps.image}", SINGLE, "--namespace=nowhere")
    line = team.submit(*flags, status=2).line()
    assert "forbidden" in line and "nowhere" in line


def test_wrong_credentials_are_said_in_one_line(team: Team, steps: Steps) -> None:
    flags = (f"--image={steps.image}", SINGLE)
    team.change_kubeconfig(lambda _, user: user.update(token="wrong"))
    line = team.submit(*flags, status=2).line()
    assert "the cluster rejected the credentials" in line
    other = (team.kubelet.directory / "kubelet.crt").read_bytes()
    authority = {"certificate-authority-data": base64.b64encode(other).decode()}
    team.change_kubeconfig(lambda cluster, _: cluster.update(authority))
    line = team.submit(*flags, status=2).line()
    assert "certificate" in line
    assert not team.left()


def test_a_job_does_not_see_what_another_of_a_longer_name_lacks(
    team: Team, steps: Steps
) -> None:
    waits = team.start(f"--image={steps.image}", SINGLE, "--gpus_per_worker=1")
    waits.wait_for("nvidia.com/gpu", 30)
    flags = (f"--image={steps.image}", SINGLE, f"--name={NAME}-2")
    refused = team.submit(*flags, "--priority_class=none", status=1)
    assert "PriorityClass" in refused.lines()[-1]
    assert "nvidia.com/gpu" in team.submit(f"--status={NAME}").log[0]
    waits.interrupt()
    waits.end(130)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_the_roles_suffice_for_what_is_beside_the_jobs(
    team: Team, steps: Steps
) -> None:
    team.allow("jobs", "claims", "shell")
    steps.finish()
    team.submit(f"--image={steps.image}", SINGLE)  # creates the claim
    kubectl = ("kubectl", f"--kubeconfig={team.kubeconfig}", f"--namespace={team.name}")
    for overlay in ("shell", "tensorboard"):
        run_command((*kubectl, "apply", "-k", K8S / "overlays" / overlay))
    run_command((*kubectl, "create", "configmap", "own", f"--from-file={__file__}"))
    run_command((*kubectl, "delete", "pod/distmnist-shell", "configmap/own"))
    run_command((*kubectl, "delete", "deployment,service", "distmnist-tensorboard"))


@pytest.mark.parametrize("workers", [SINGLE, TWO])
def test_a_running_job_is_deleted_with_all_that_it_owns(
    team: Team, steps: Steps, workers: str
) -> None:
    run = team.start(f"--image={steps.image}", workers)
    run.wait_for(RUNNING)
    assert team.left(claims=False)
    team.submit(f"--delete={NAME}")
    run.wait_for(f"the job {NAME} was deleted")
    run.end(1)
    team.assert_only(CLAIM)


@pytest.mark.parametrize("workers", [SINGLE, TWO])
def test_a_job_that_replaces_a_deleted_one_shows_its_own_log_only(
    team: Team, steps: Steps, workers: str
) -> None:
    flags = (f"--image={steps.image}", workers)
    first = team.start(*flags)
    first.wait_for(RUNNING)
    (old,) = team.pods("launcher" if workers == TWO else NAME)
    wait_for(lambda: len(first.log) > 20, lambda: first)
    team.submit(f"--delete={NAME}")
    second = team.start(*flags)
    second.wait_for(RUNNING, 60)
    first.end(1)
    (new,) = (
        pod
        for pod in team.pods("launcher" if workers == TWO else NAME)
        if "deletionTimestamp" not in pod["metadata"]
    )
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    wait_for(lambda: len(second.log) > 20, lambda: second)
    steps.finish()
    second.end(0)
    assert numbers(second.log) == list(range(1, len(second.log) + 1))
    expected = team.kubelet.log(team.name, new["metadata"]["name"]).splitlines()
    assert second.log == expected


@pytest.mark.parametrize("workers", [SINGLE, TWO])
def test_a_detached_job_is_looked_at_by_name(
    team: Team, steps: Steps, workers: str
) -> None:
    team.submit(f"--image={steps.image}", workers, "--detach", "--name=away")
    wait_for(
        lambda: "away: running" in team.submit("--status=away").log[0],
        team.show,
    )
    follower = team.start("--logs=away")
    follower.wait_for("away: running")
    follower.interrupt()
    assert "away keeps running" in str(follower.end(130))
    steps.finish(2)
    assert numbers(team.submit("--logs=away", status=2).log)[0] == 1
    assert "away: failed: " in team.submit("--status=away").log[0]
