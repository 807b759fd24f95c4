"""Pods, roles and the network policy of k8s/, and the security standard."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from distmnist.core.config import Config
from launch.submit.k8s import manifests, options
from launch.submit.k8s.manifests import K8S, Object
from launch.submit.k8s.options import Options
from tests.launch.k8s import pod_security
from tests.launch.k8s.schemas import pods_of

OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))


def test_pods_meet_the_restricted_security_standard_and_are_labelled() -> None:
    for overlay in OVERLAYS:
        for thing in manifests.build(overlay):
            for template in pods_of(thing):
                check_pod(template, overlay.name)


def check_pod(template: Object, overlay: str) -> None:
    """Checks what all pods have in common."""
    pod = template["spec"]
    assert pod_security.violations(pod) == [], overlay
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["automountServiceAccountToken"] is False
    if overlay not in ("shell", "tensorboard"):
        grace = pod["terminationGracePeriodSeconds"]
        assert Config().grace_seconds <= options._MAX_GRACE <= grace - 5
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {
            mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]
        }
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        written = {"/tmp"} if overlay == "tensorboard" else {"/tmp", "/home/distmnist"}
        for path in written:
            assert volumes[mounts[path]] == {"name": mounts[path], "emptyDir": {}}
        if "/dev/shm" in mounts:
            assert volumes[mounts["/dev/shm"]]["emptyDir"]["sizeLimit"] == "1Gi"
        resources = container["resources"]
        limited = {"cpu", "memory", "ephemeral-storage"}
        assert resources["requests"].keys() == limited
        assert limited - {"cpu"} <= resources["limits"].keys()
    labels = template["metadata"]["labels"]
    recommended = ("name", "instance", "part-of", "component")
    assert all(f"app.kubernetes.io/{label}" in labels for label in recommended)


INSECURE: list[tuple[str, Any, str]] = [
    ("hostNetwork", True, "hostNetwork"),
    ("securityContext/runAsNonRoot", False, "runAsNonRoot"),
    ("securityContext/runAsUser", 0, "runAsUser"),
    ("securityContext/seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
    ("securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctl"),
    ("volumes", [{"name": "v", "hostPath": {"path": "/"}}], "volume v"),
    ("containers/0/securityContext/privileged", True, "privileged"),
    ("containers/0/securityContext/allowPrivilegeEscalation", None, "allowPrivilege"),
    ("containers/0/securityContext/capabilities", {"drop": ["KILL"]}, "drop"),
    ("containers/0/securityContext/capabilities/add", ["SYS_ADMIN"], "add"),
    ("containers/0/ports", [{"containerPort": 1, "hostPort": 1}], "hostPort"),
    ("initContainers", [{"name": "init"}], "init: capabilities.drop"),
]


@pytest.mark.parametrize(("path", "value", "violation"), INSECURE, ids=str)
def test_the_check_of_the_security_standard_finds(
    path: str, value: Any, violation: str
) -> None:
    pod = copy.deepcopy(
        manifests.templates(manifests.render(Options(image="d:1"))[-1])[0]["spec"]
    )
    *parents, last = path.split("/")
    thing: Any = pod
    for name in parents:
        thing = thing[int(name)] if name.isdigit() else thing[name]
    thing[last] = value
    assert any(violation in found for found in pod_security.violations(pod))


def rules(role: str) -> list[Object]:
    found = yaml.safe_load((K8S / "access" / f"{role}.yaml").read_text())
    rules: list[Object] = found["rules"]
    return rules


def test_roles_grant_what_a_submission_takes_and_no_more() -> None:
    granted = {
        role: {
            (group, resource, verb)
            for rule in rules(role)
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for role in ("jobs", "mpijobs", "trainjobs", "claims", "shell")
    }
    following = {
        *(("", "pods", verb) for verb in ("get", "list", "watch")),
        *(("", "events", verb) for verb in ("get", "list", "watch")),
        ("", "pods/log", "get"),
        ("", "persistentvolumeclaims", "get"),
    }
    owners = {("batch", "jobs", verb) for verb in ("get", "list")}
    jobsets = {("jobset.x-k8s.io", "jobsets", verb) for verb in ("get", "list")}

    def work(group: str, resource: str) -> set[tuple[str, str, str]]:
        verbs = ("create", "get", "list", "watch", "delete")
        return {(group, resource, verb) for verb in verbs}

    assert granted == {
        "jobs": following | work("batch", "jobs"),
        "mpijobs": following | owners | work("kubeflow.org", "mpijobs"),
        "trainjobs": following
        | owners
        | jobsets
        | work("trainer.kubeflow.org", "trainjobs"),
        "shell": {
            *work("", "pods"),
            ("", "pods", "patch"),
            *(
                ("", f"pods/{what}", verb)
                for what in ("exec", "portforward")
                for verb in ("create", "get")
            ),
            *(
                (group, resource, verb)
                for group, resource in (
                    ("", "services"),
                    ("", "configmaps"),
                    ("apps", "deployments"),
                )
                for verb in ("create", "get", "patch", "delete")
            ),
        },
        "claims": {
            ("", "persistentvolumeclaims", verb) for verb in ("create", "get", "patch")
        },
    }


def test_the_network_policy_selects_the_pods_of_jobs() -> None:
    (policy,) = manifests.build(K8S / "network")
    selector = policy["spec"]["podSelector"]["matchLabels"].items()
    (rule,) = policy["spec"]["ingress"]
    assert rule == {"from": [{"podSelector": policy["spec"]["podSelector"]}]}
    assert policy["spec"]["policyTypes"] == ["Ingress"]  # the DNS and data sets remain
    jobs = [
        pod
        for overlay in OVERLAYS
        for thing in manifests.build(overlay)
        if thing["kind"] not in ("Deployment", "Pod")
        for pod in pods_of(thing)
    ]
    assert len(jobs) == 9
    assert all(selector <= pod["metadata"]["labels"].items() for pod in jobs)
