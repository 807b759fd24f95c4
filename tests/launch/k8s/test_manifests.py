"""The manifests, as kubectl applies them and as they are submitted, and the schemas."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import K8S, Object
from launch.submit.k8s.options import KINDS, Options
from tests.launch.k8s import pod_security
from tests.launch.k8s import schemas as k8s_schemas
from tests.launch.k8s.schemas import Validators, pods_of, validate
from tests.launching import ROOT, run

OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))

# What an administrator applies once.
ONCE = [K8S / name for name in ("access", "network", "trainer")]

# Overlays, and the options that submit the same objects.
SAME = {
    "cpu": Options(image="distmnist:cpu"),
    "gpu": Options(image="distmnist:gpu", gpus_per_worker=1),
    "single-gpu": Options(image="distmnist:gpu", workers=1, gpus_per_worker=1),
    "elastic": Options(image="distmnist:cpu", elastic=True),
    "trainjob": Options(image="distmnist:cpu", kind="trainjob"),
}

PLACED = {
    "node_selector": ("disk=ssd", "example.com/pool="),
    "tolerations": ("team", "example.com/pool=gpu:NoExecute", "batch:NoSchedule"),
}

OTHERS = [
    Options(image="r/d:1", workers=1),
    Options(image="r/d:1", workers=4, gpus_per_worker=8, memory_per_worker="64Gi"),
    Options(image="r/d:1", workers=9, elastic=True, min_workers=3, gpus_per_worker=2),
    Options(image="r/d:1", spread=True, queue="team", timeout=3600, name="other"),
    Options(image="r/d:1", workers=1, gpus_per_worker=1, timeout=9, pvc="mine"),
    Options(image="r/d:1", cpus_per_worker="1500m", namespace="team", pvc="mine"),
    Options(image="r/d:1", training=("--max_steps=10", "--log_dir=/data/x")),
    Options(image="r/d:1", kind="mpijob", workers=1, disk_per_worker="20Gi"),
    Options(image="r/d:1", workers=1, config_map="own", priority_class="low", **PLACED),
    Options(image="r/d:1", config_map="own", priority_class="low", **PLACED),
    Options(image="r/d:1", elastic=True, config_map="own", gpus_per_worker=1, **PLACED),
    Options(
        image="r/d:1",
        kind="trainjob",
        workers=5,
        gpus_per_worker=2,
        disk_per_worker="9Gi",
        memory_per_worker="64Gi",
        pvc="mine",
        queue="team",
        timeout=60,
        config_map="own",
        **PLACED,
    ),
]


@pytest.fixture(scope="module")
def schemas() -> Validators:
    return k8s_schemas.load()


def by_kind(objects: list[Object]) -> list[Object]:
    return sorted(
        objects, key=lambda thing: (thing["kind"], str(thing["metadata"]["name"]))
    )


def kubectl_kustomize(directory: Path) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    text = run(["kubectl", "kustomize", directory]).stdout
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("overlay", OVERLAYS + ONCE, ids=lambda path: path.name)
def test_overlays_build_and_are_valid(overlay: Path, schemas: Validators) -> None:
    objects = kubectl_kustomize(overlay)
    assert by_kind(manifests.build(overlay)) == by_kind(objects)
    for thing in objects:
        validate(thing, schemas)


@pytest.mark.parametrize("name", SAME)
def test_submitted_objects_equal_those_of_kubectl(name: str) -> None:
    assert manifests.render(SAME[name]) == manifests.build(K8S / "overlays" / name)


@pytest.mark.parametrize("options", OTHERS)
def test_submitted_objects_are_valid(options: Options, schemas: Validators) -> None:
    objects = list(yaml.safe_load_all(manifests.to_yaml(manifests.render(options))))
    for thing in objects:
        validate(thing, schemas)
    assert len(objects) == (1 if options.pvc else 2)
    assert f"--log_dir=/data/logs/{options.name}" in json.dumps(objects[-1])
    pods = pods_of(objects[-1])
    assert len(pods) == (1 if options.single else 2)
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "r/d:1"
        assert pod["metadata"]["labels"][manifests.INSTANCE] == options.name
        claims = [
            volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"]
        ]
        if any(claims):
            assert {"claimName": options.pvc or "distmnist"} in claims
        assert pod_security.violations(pod["spec"]) == []


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


def test_an_invalid_manifest_is_rejected(schemas: Validators) -> None:
    claim, job = manifests.render(SAME["cpu"])
    job["spec"]["runPolicy"]["cleanPodPolice"] = "Running"
    with pytest.raises(jsonschema.ValidationError, match="cleanPodPolice"):
        validate(job, schemas)
    del job["spec"]["runPolicy"]["cleanPodPolice"]
    next(iter(manifests.templates(job)))["spec"]["containers"][0]["imag"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imag"):
        validate(job, schemas)
    claim["spec"]["accessMode"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(claim, schemas)


def test_options_of_placement_are_in_every_pod() -> None:
    for placed in OTHERS[-4:]:
        for pod in pods_of(manifests.render(placed)[-1]):
            spec = pod["spec"]
            assert spec["nodeSelector"] == {"disk": "ssd", "example.com/pool": ""}
            given = [
                {"key": "team", "operator": "Exists"},
                {
                    "key": "example.com/pool",
                    "operator": "Equal",
                    "value": "gpu",
                    "effect": "NoExecute",
                },
                {"key": "batch", "operator": "Exists", "effect": "NoSchedule"},
            ]
            assert spec["tolerations"][-3:] == given
            on_gpus = placed.gpus_per_worker > 0  # the launcher, too
            gpu = {
                "key": "nvidia.com/gpu",
                "operator": "Exists",
                "effect": "NoSchedule",
            }
            assert (gpu in spec["tolerations"]) == on_gpus
            assert spec.get("priorityClassName") == placed.priority_class
            assert {"name": "own", "configMap": {"name": "own"}} in spec["volumes"]
            mount = {"name": "own", "mountPath": "/opt/own", "readOnly": True}
            assert mount in spec["containers"][0]["volumeMounts"]


def test_own_modules_are_on_the_path_of_all_ranks() -> None:
    for options in (*SAME.values(), *OTHERS):
        (pod,) = (
            pod
            for pod in pods_of(manifests.render(options)[-1])
            if pod["metadata"]["labels"][manifests.COMPONENT] != "worker"
        )
        (container,) = pod["spec"]["containers"]
        path = {"name": "PYTHONPATH", "value": "/opt/own"}
        assert path in container["env"]
        command = " ".join(container["command"])
        # horovodrun passes all variables on.
        assert ("mpirun -x PATH -x PYTHONPATH " in command) == ("mpirun" in command)


def test_one_worker_on_each_node() -> None:
    (job,) = manifests.render(Options(image="d:1", workers=7, spread=True, pvc="data"))
    launcher, worker = manifests.templates(job)
    (constraint,) = worker["spec"]["topologySpreadConstraints"]
    assert constraint["minDomains"] == 7
    assert "topologySpreadConstraints" not in launcher["spec"]


def test_training_flags_are_found_in_every_kind() -> None:
    flags = ("--dataset=digits", "--max_steps=10")
    for kind in KINDS:
        options = Options(
            image="d:1", kind=kind, workers=1 + (kind != "job"), training=flags
        )
        job = manifests.render(options)[-1]
        assert manifests.training_flags(job)[-2:] == [*flags]
        assert job["kind"].lower() == kind
        assert options.single == (kind == "job")


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
