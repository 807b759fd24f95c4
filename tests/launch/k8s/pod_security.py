"""The Pod Security Standard "restricted", as the API server checks it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launch.submit.k8s.manifests import Object

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def violations(pod: Object) -> list[str]:
    """Returns the violations of the standard in the specification of a pod."""
    return [*_of_pod(pod)] + [
        f"{container['name']}: {text}"
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in pod.get(kind, ())
        for text in _of_container(container, pod.get("securityContext", {}))
    ]


def _of_pod(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if not volume.keys() - {"name"} <= _VOLUMES:
            yield f"volume {volume['name']}"
    security = pod.get("securityContext", {})
    for sysctl in security.get("sysctls", ()):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "windowsOptions.hostProcess"
    yield from _of_either(security)


def _of_either(security: Object) -> Iterator[str]:
    """Checks what the security contexts of a pod and a container have in common."""
    if security.get("runAsUser") == 0:
        yield "runAsUser"
    if security.get("runAsNonRoot") is False:
        yield "runAsNonRoot"
    if security.get("seccompProfile", {"type": "RuntimeDefault"})["type"] not in (
        _SECCOMP
    ):
        yield "seccompProfile"
    if security.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile"
    selinux = security.get("seLinuxOptions", {})
    if (
        selinux.get("type") not in _SELINUX_TYPES
        or selinux.get("user")
        or selinux.get("role")
    ):
        yield "seLinuxOptions"


def _of_container(container: Object, of_pod: Object) -> Iterator[str]:
    security: dict[str, Any] = container.get("securityContext", {})
    yield from _of_either(security)
    effective = {**of_pod, **security}
    if effective.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if "seccompProfile" not in effective:
        yield "seccompProfile"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if security.get("privileged"):
        yield "privileged"
    if security.get("procMount", "Default") != "Default":
        yield "procMount"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities.drop"
    if not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPort"
    hooks = container.get("lifecycle", {}).values()
    for handler in (*(container.get(probe, {}) for probe in _PROBES), *hooks):
        if any(handler.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield "host of a probe"
