"""The manifests of k8s/, as an API server with restricted pod security accepts them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from launch.submit.k8s import manifests
from launch.submit.k8s.manifests import K8S
from tests.launch.k8s.cluster import Cluster, Object, wait_for

NAMESPACE = "restricted"


@pytest.fixture(scope="module")
def restricted(definitions: Cluster) -> Cluster:
    """A cluster with a namespace that enforces the restricted pod security."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    definitions.admin.create(namespace)
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
    wait_for(lambda: definitions.admin.find(account), lambda: "no service account")
    return definitions


def kustomizations() -> list[Path]:
    """Returns the directories that kubectl can apply."""
    found = K8S.glob("**/kustomization.yaml")
    kinds = {path.parent: yaml.safe_load(path.read_text())["kind"] for path in found}
    return sorted(path for path, kind in kinds.items() if kind != "Component")


@pytest.mark.parametrize("directory", kustomizations(), ids=lambda path: path.name)
def test_an_api_server_accepts_the_manifests(
    restricted: Cluster, directory: Path
) -> None:
    objects = manifests.build(directory)
    assert objects
    for thing in objects:
        thing["metadata"]["namespace"] = NAMESPACE
        restricted.admin.apply(thing, dryRun="All")


def pods() -> list[tuple[str, Object]]:
    """Returns the pod templates in all overlays, each with its overlay."""
    found = []
    for overlay in kustomizations():
        for thing in manifests.build(overlay):
            found += [(overlay.name, pod) for pod in _templates(thing)]
    return found


def _templates(value: object) -> list[Object]:
    """Returns the pod templates in a part of an object."""
    if isinstance(value, list):
        return [pod for item in value for pod in _templates(item)]
    if not isinstance(value, dict):
        return []
    spec = value.get("spec")
    if isinstance(spec, dict) and "image" in str(spec.get("containers")):
        return [value]
    return [pod for item in value.values() for pod in _templates(item)]


def test_pods_of_the_manifests_are_admitted(restricted: Cluster) -> None:
    found = pods()
    assert len(found) >= 8
    for overlay, template in found:
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = {**template["metadata"], "namespace": NAMESPACE, "name": "x"}
        restricted.admin.create(pod, dryRun="All")
        pod["spec"]["containers"][0].pop("securityContext")
        with pytest.raises(ApiException, match="violates PodSecurity"):
            restricted.admin.create(pod, dryRun="All")
            pytest.fail(overlay)


def test_a_wrong_manifest_is_not_accepted(restricted: Cluster) -> None:
    for directory in ("base", "single"):
        (job,) = manifests.build(K8S / directory)
        job["metadata"]["namespace"] = NAMESPACE
        job["spec"]["unknown"] = 1
        with pytest.raises(ApiException, match="unknown"):
            restricted.admin.apply(job, dryRun="All")
