"""Volumes of pods, as a kubelet prepares them: directories with the right owners."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from tests.launch.k8s.cluster import Client, Object
from tests.launch.k8s.runtime import Mount


class NotReady(Exception):
    """A volume that cannot be mounted yet, with the reason."""


def mounts(client: Client, pod: Object, directory: Path) -> list[Mount]:
    """Prepares the volumes of a pod.

    Args:
        client: administrator.
        pod: whose first container is to be started.
        directory: for files of this pod.

    Returns:
        The mounts of its container, in the order in which to mount them.

    Raises:
        NotReady: What a volume refers to does not exist.
    """
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    group = spec.get("securityContext", {}).get("fsGroup", 0)
    found: dict[str, tuple[Path, bool]] = {}
    for volume in spec.get("volumes", ()):
        path = directory / "volumes" / volume["name"]
        if "persistentVolumeClaim" in volume:
            path = _claimed(client, namespace, volume["persistentVolumeClaim"])
            _own(path, group, 0o2775)
        elif "emptyDir" in volume:
            path.mkdir(parents=True, exist_ok=True)
            _own(path, group, 0o2777)
        else:
            sources = volume.get("projected", {}).get("sources") or [volume]
            default = _mode(volume)
            files = [f for source in sources for f in _files(client, namespace, source)]
            _write(path, files, default, group)
            found[volume["name"]] = path, True
            continue
        found[volume["name"]] = path, False
    result = []
    for mount in spec["containers"][0].get("volumeMounts", ()):
        path, read_only = found[mount["name"]]
        if mount.get("subPath"):
            path = path / mount["subPath"]
            if not path.exists():
                path.mkdir()
                _own(path, group, 0o2775)
        result.append((path, mount["mountPath"], read_only or mount.get("readOnly")))
    return sorted(result, key=lambda mount: mount[1])


def _own(path: Path, group: int, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, 0, group)
        path.chmod(mode)


def _claimed(client: Client, namespace: str, source: Object) -> Path:
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    claim = client.ask("GET", f"{claims}/{source['claimName']}")
    path = f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}"
    return Path(client.ask("GET", path)["spec"]["hostPath"]["path"])


def _mode(volume: Object) -> int:
    for kind in ("secret", "configMap", "projected"):
        if "defaultMode" in volume.get(kind, {}):
            return int(volume[kind]["defaultMode"])
    return 0o644


# A file: its path in the volume, its content, and its mode if it is not the default.
_File = tuple[str, bytes, "int | None"]


def _files(client: Client, namespace: str, source: Object) -> list[_File]:
    """Returns the files of a Secret or ConfigMap; none of any other source."""
    if "secret" in source:
        about, plural = source["secret"], "secrets"
        name = about.get("secretName") or about["name"]
    elif "configMap" in source:
        about, plural = source["configMap"], "configmaps"
        name = about["name"]
    else:
        return []
    thing = client.find(f"/api/v1/namespaces/{namespace}/{plural}/{name}")
    if thing is None:
        if about.get("optional"):
            return []
        raise NotReady(f'{plural.removesuffix("s")} "{name}" not found')
    content = {
        key: base64.b64decode(text) if plural == "secrets" else text.encode()
        for key, text in (thing.get("data") or {}).items()
    }
    if "items" not in about:
        return [(key, data, None) for key, data in content.items()]
    try:
        return [(i["path"], content[i["key"]], i.get("mode")) for i in about["items"]]
    except KeyError as error:
        raise NotReady(f"references non-existent secret key: {error}") from None


def _write(path: Path, files: list[_File], default: int, group: int) -> None:
    """Writes files as a kubelet does: of root, and readable by the pod's group."""
    path.mkdir(parents=True, exist_ok=True)
    _own(path, group, 0o2775)
    for name, data, mode in files:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.new")
        new.write_bytes(data)
        new.chmod((default if mode is None else mode) | (0o440 if group else 0))
        if os.geteuid() == 0:
            os.chown(new, 0, group)
        new.rename(target)
