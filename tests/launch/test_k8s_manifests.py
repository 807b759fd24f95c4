"""The manifests, as kubectl applies them and as they are submitted, and the schemas."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from distmnist.core.config import Config
from launch.submit.k8s import manifests, options
from launch.submit.k8s.manifests import K8S, Object
from launch.submit.k8s.options import Options
from tests.launching import ROOT, run

OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))
CRD = ROOT.parent / "shared/data/k8s/kubeflow.org_mpijobs.yaml"
VERSION = kubernetes_validate.latest_version()

# Overlays, and the options that submit the same objects.
SAME = {
    "cpu": Options(image="distmnist:cpu"),
    "gpu": Options(image="distmnist:gpu", gpus_per_worker=1),
    "single-gpu": Options(image="distmnist:gpu", workers=1, gpus_per_worker=1),
    "elastic": Options(image="distmnist:cpu", elastic=True),
}
OTHERS = [
    Options(image="r/d:1", workers=1),
    Options(image="r/d:1", workers=4, gpus_per_worker=8, memory_per_worker="64Gi"),
    Options(image="r/d:1", workers=9, elastic=True, min_workers=3, gpus_per_worker=2),
    Options(image="r/d:1", spread=True, queue="team", timeout=3600, name="other"),
    Options(image="r/d:1", workers=1, gpus_per_worker=1, timeout=9, pvc="mine"),
    Options(image="r/d:1", cpus_per_worker="1500m", namespace="team", pvc="mine"),
    Options(image="r/d:1", training=("--max_steps=10", "--log_dir=/data/x")),
]


@pytest.fixture(scope="module")
def mpijob_schema() -> Object:
    """The schema of MPIJob, closed to unknown fields, as a cluster validates it."""
    path = Path(os.environ.get("DISTMNIST_TEST_MPIJOB_CRD", CRD))
    if not path.exists():
        pytest.skip(f"no CRD {path}; set DISTMNIST_TEST_MPIJOB_CRD to its path")
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema: Object = versions[0]["schema"]["openAPIV3Schema"]
    return closed(schema)


def closed(schema: Any) -> Any:
    """Returns a copy of a schema that allows no additional properties."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(result.get("properties"), dict) and "type" in schema:
        result.setdefault("additionalProperties", False)
    return result


def validate(thing: Object, mpijob_schema: Object) -> None:
    """Validates an object against the schema of its kind; raises if it is invalid."""
    if thing["kind"] != "MPIJob":
        kubernetes_validate.validate(thing, VERSION, strict=True)
        return
    jsonschema.validate(thing, mpijob_schema)
    for template in manifests.templates(thing):
        # The schema of the CRD omits checks that the API server has for pods.
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
        pod["metadata"]["name"] = "pod"
        kubernetes_validate.validate(pod, VERSION, strict=True)


def by_kind(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda thing: thing["kind"])


def kubectl_kustomize(directory: Path) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    text = run(["kubectl", "kustomize", directory]).stdout
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_overlays_build_and_are_valid(overlay: Path, mpijob_schema: Object) -> None:
    objects = kubectl_kustomize(overlay)
    assert by_kind(manifests.build(overlay)) == by_kind(objects)
    for thing in objects:
        validate(thing, mpijob_schema)


@pytest.mark.parametrize("name", SAME)
def test_submitted_objects_equal_those_of_kubectl(name: str) -> None:
    assert manifests.render(SAME[name]) == manifests.build(K8S / "overlays" / name)


@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_submitted_objects_are_valid(options: Options, mpijob_schema: Object) -> None:
    objects = list(yaml.safe_load_all(manifests.to_yaml(manifests.render(options))))
    for thing in objects:
        validate(thing, mpijob_schema)
    assert len(objects) == (1 if options.pvc else 2)
    text = json.dumps(objects[-1])
    assert text.count('"r/d:1"') == (1 if options.single else 2)
    assert f"--log_dir=/data/logs/{options.name}" in text
    if options.pvc:
        assert '"claimName": "mine"' in text


def test_options_are_filled_in() -> None:
    job = manifests.render(OTHERS[2])[-1]
    launcher, worker = manifests.templates(job)
    command = " ".join(launcher["spec"]["containers"][0]["command"])
    assert "--at-least 3 " in command
    assert " -np 6 --min-np 6 --max-np 18 " in command
    assert "--slots-per-host 2 " in command
    assert job["spec"]["slotsPerWorker"] == 2
    assert job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 9
    limits = worker["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 2
    job = manifests.render(OTHERS[3])[-1]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["runPolicy"]["activeDeadlineSeconds"] == 3600
    for template in manifests.templates(job):
        assert template["metadata"]["labels"][manifests.INSTANCE] == "other"


def test_dry_run_prints_the_rendered_objects(tmp_path: Path) -> None:
    submit = [ROOT / "launch/submit_k8s", "--image=r/d:1", "--workers=3", "--dry_run"]
    nowhere = {"KUBECONFIG": str(tmp_path / "none")}
    printed = run([*submit, "--", "--max_steps=7"], env=nowhere).stdout
    options = Options(image="r/d:1", workers=3, training=("--max_steps=7",))
    assert list(yaml.safe_load_all(printed)) == manifests.render(options)


def test_kubectl_can_set_the_image(tmp_path: Path) -> None:
    kustomization = {
        "resources": [os.path.relpath(K8S / "overlays/cpu", tmp_path.resolve())],
        "images": [{"name": "distmnist", "newName": "r/d", "newTag": "7"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (job,) = (o for o in kubectl_kustomize(tmp_path) if o["kind"] == "MPIJob")
    for template in manifests.templates(job):
        assert template["spec"]["containers"][0]["image"] == "r/d:7"


def test_an_invalid_manifest_is_rejected(mpijob_schema: Object) -> None:
    claim, job = manifests.render(SAME["cpu"])
    job["spec"]["runPolicy"]["cleanPodPolice"] = "Running"
    with pytest.raises(jsonschema.ValidationError, match="cleanPodPolice"):
        validate(job, mpijob_schema)
    del job["spec"]["runPolicy"]["cleanPodPolice"]
    next(iter(manifests.templates(job)))["spec"]["containers"][0]["imag"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imag"):
        validate(job, mpijob_schema)
    claim["spec"]["accessMode"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(claim, mpijob_schema)


def pod_templates() -> list[tuple[str, Object]]:
    result = []
    for overlay in OVERLAYS:
        for thing in manifests.build(overlay):
            if thing["kind"] in ("Job", "MPIJob"):
                result += [(overlay.name, pod) for pod in manifests.templates(thing)]
            elif thing["kind"] == "Deployment":
                result.append((overlay.name, thing["spec"]["template"]))
    return result


def test_pods_meet_the_restricted_security_standard_and_are_labelled() -> None:
    pods = pod_templates()
    assert len(pods) == 8
    for overlay, template in pods:
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, overlay
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        if overlay != "tensorboard":
            grace = pod["terminationGracePeriodSeconds"]
            assert Config().grace_seconds <= options._MAX_GRACE <= grace - 5
        volumes = pod.get("volumes", ())
        assert all(
            volume.keys() & {"persistentVolumeClaim", "emptyDir"} for volume in volumes
        )
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
        labels = template["metadata"]["labels"]
        recommended = ("name", "instance", "part-of", "component")
        assert all(f"app.kubernetes.io/{label}" in labels for label in recommended)


def test_hadolint() -> None:
    assert run(["hadolint", K8S / "Dockerfile"]).stdout == ""


def test_the_image_matches_the_manifests() -> None:
    dockerfile = (K8S / "Dockerfile").read_text()
    sshd = (K8S / "sshd_config").read_text()
    job = manifests.build(K8S / "base")[0]
    home = "/home/distmnist/.ssh"
    assert job["spec"]["sshAuthMountPath"] == home
    assert f"HostKey {home}/id_rsa\n" in sshd
    assert "useradd --uid 1000 --create-home" in dockerfile
    _, worker = manifests.templates(job)
    ports = worker["spec"]["containers"][0]["ports"]
    for config in ("sshd_config", "ssh_config"):
        assert f"Port {ports[0]['containerPort']}\n" in (K8S / config).read_text()
    for word in job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"][
        "containers"
    ][0]["command"][:3]:
        assert (ROOT / Path(word).relative_to("/opt/distmnist")).exists(), word
