"""Fixtures of the tests against a real Kubernetes control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.k8s import cluster as kube_cluster
from tests.launch.k8s.cluster import Cluster
from tests.launch.k8s.kubelet import Kubelet
from tests.launch.k8s.team import Steps, Team


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the MPI Operator; skips the test where there can be none."""
    if reason := kube_cluster.missing("mpi-operator"):
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        started.install_operator()
        yield started


@pytest.fixture(scope="session")
def kubelet(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubelet]:
    """The node of the cluster."""
    with Kubelet(cluster, tmp_path_factory.mktemp("kubelet")) as kubelet:
        yield kubelet


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that has all kinds of jobs, and no operator that acts on them."""
    if reason := kube_cluster.missing():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("definitions")) as started:
        started.create_definitions()
        yield started


@pytest.fixture(scope="session")
def bare_kubelet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """The node of a cluster without the MPI Operator and its resources."""
    if reason := kube_cluster.missing():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("bare")
    (directory / "kubelet").mkdir()
    with (
        Cluster(directory / "cluster") as cluster,
        Kubelet(cluster, directory / "kubelet") as kubelet,
    ):
        yield kubelet


@pytest.fixture
def team(kubelet: Kubelet) -> Iterator[Team]:
    """A namespace with a user who may do all that a submission needs."""
    with Team(kubelet) as team:
        yield team


@pytest.fixture
def steps(kubelet: Kubelet, tmp_path: Path) -> Steps:
    """An image that logs steps until it is told to end."""
    return Steps(kubelet, tmp_path)
