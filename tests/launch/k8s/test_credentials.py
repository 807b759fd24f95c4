"""Kubeconfigs as people have them: the namespace, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import kube_config

from distmnist.core.errors import InputError
from launch.submit.k8s.connection import Connection


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


def config(
    cluster: Any = None, user: Any = None, context: Any = None, current: str = "a"
) -> str:
    """Returns a kubeconfig of one context, in which some things are different."""
    server = {"server": "https://127.0.0.1:1"}
    content: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": {**server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u", **(context or {})}}
        ],
        "current-context": current,
    }
    if not current:
        del content["current-context"]
    return yaml.safe_dump(content)


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin"}
WRONG: dict[str, tuple[str | bytes, str]] = {
    "missing": ("", "no cluster configured"),
    "syntax": ("clusters: [", "no cluster configured: while parsing"),
    "text": ("hello", "no cluster configured"),
    "list": ("- 1", "no cluster configured"),
    "binary": (b"\xff\x00\x81", "no cluster configured"),
    "base64": (config(user={"client-certificate-data": "x"}), "no cluster configured"),
    "token": (config(user={"tokenFile": "/no/such/token"}), "/no/such/token"),
    "plug-in": (config(user={"exec": EXEC}), "/no/such/plugin"),
    "context": (config(current="other"), "other"),
    "server": (config(cluster={"server": "10.0.0.1"}), "server 10.0.0.1: must begin"),
}


@pytest.mark.parametrize(("content", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_kubeconfig_is_one_line(
    kubeconfig: Path,
    capfd: pytest.CaptureFixture[str],
    content: str | bytes,
    text: str,
) -> None:
    if content:
        kubeconfig.write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    with pytest.raises(InputError) as refused:
        Connection(None, None)
    assert text in str(refused.value) and "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_kubeconfig_that_is_a_directory_is_one_line(kubeconfig: Path) -> None:
    kubeconfig.mkdir()
    with pytest.raises(InputError, match=r"no cluster configured: .*directory"):
        Connection(None, None)


@pytest.mark.parametrize("current", ["", "a", "other"])
@pytest.mark.parametrize(
    ("context", "namespace"),
    [({"namespace": "team"}, "team"), ({"namespace": ""}, "default"), ({}, "default")],
)
def test_the_namespace_is_that_of_the_context(
    kubeconfig: Path, current: str, context: dict[str, str], namespace: str
) -> None:
    kubeconfig.write_text(config(context=context, current=current))
    assert Connection("a", None).namespace == namespace
    assert Connection("a", "mine").namespace == "mine"
