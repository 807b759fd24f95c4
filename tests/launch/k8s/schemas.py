"""Schemas of Kubernetes and of operators, for tests of objects that are submitted."""

from __future__ import annotations

import copy
import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema.validators import validator_for

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import K8S, Object
from tests.launch.k8s import trainer
from tests.launching import ROOT

# Names of the files of CRDs, all in one directory.
CRDS = {
    "MPIJob": "kubeflow.org_mpijobs.yaml",
    "TrainJob": "trainer.kubeflow.org_trainjobs.yaml.gz",
    "ClusterTrainingRuntime": "trainer.kubeflow.org_clustertrainingruntimes.yaml.gz",
}
VERSION = kubernetes_validate.latest_version()

Validators = Mapping[str, Any]


def load() -> Validators:
    """Returns validators of operators' kinds, as strict as a cluster's; or skips.

    That of MPIJobs is required; others are omitted where their CRD is missing.
    """
    variable = "DISTMNIST_TEST_MPIJOB_CRD"
    default = ROOT.parent / "shared/data/k8s" / CRDS["MPIJob"]
    path = Path(os.environ.get(variable, default))
    if not path.exists():
        pytest.skip(f"no CRD {path}; set {variable} to its path")
    validators = {}
    for kind, name in CRDS.items():
        file = path if kind == "MPIJob" else path.parent / name
        if file.exists():
            text = file.read_bytes()
            crd = yaml.safe_load(
                gzip.decompress(text) if file.suffix == ".gz" else text
            )
            schema = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
            validators[kind] = validator_for(schema)(schema)
    return validators


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


def runtime() -> Object:
    """The ClusterTrainingRuntime of k8s/trainer."""
    objects = manifests.build(K8S / "trainer")
    (found,) = (x for x in objects if x["kind"] == "ClusterTrainingRuntime")
    return found


def pods_of(thing: Object) -> list[Object]:
    """Returns the templates of the pods that an object leads to."""
    if thing["kind"] == "TrainJob":
        return list(trainer.templates(trainer.jobset(runtime(), thing)).values())
    if thing["kind"] in ("Job", "MPIJob"):
        return manifests.templates(thing)
    if thing["kind"] == "Pod":
        return [thing]
    return [thing["spec"]["template"]] if thing["kind"] == "Deployment" else []


def validate(thing: Object, validators: Validators) -> None:
    """Validates an object, and the pods it leads to; raises if one is invalid."""
    if thing["kind"] in CRDS:
        if thing["kind"] not in validators:
            pytest.skip(f"no {CRDS[thing['kind']]} beside the CRD of MPIJobs")
        validators[thing["kind"]].validate(thing)
    else:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    if thing["kind"] == "TrainJob":
        for job in trainer.jobset(runtime(), thing)["spec"]["replicatedJobs"]:
            batch = {"apiVersion": "batch/v1", "kind": "Job", **job["template"]}
            batch["metadata"]["name"] = "job"
            kubernetes_validate.validate(batch, VERSION, strict=True)
    for template in pods_of(thing):
        # The schemas of CRDs omit checks that the API server has for pods.
        pod = copy.deepcopy({"apiVersion": "v1", "kind": "Pod", **template})
        pod["metadata"]["name"] = "pod"
        kubernetes_validate.validate(pod, VERSION, strict=True)
        names = [volume["name"] for volume in pod["spec"]["volumes"]]
        assert len(names) == len(set(names))
        for container in pod["spec"]["containers"]:
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(paths) == len(set(paths))
            assert {mount["name"] for mount in container["volumeMounts"]} == {*names}
