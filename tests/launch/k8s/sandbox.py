"""Emulated pods of the test's kubelet, as root can run them.

A pod runs the very command of its manifest: in namespaces, on an overlay of this
machine's file system that looks like the image of k8s/Dockerfile, with the volumes of
its manifest, as the user and with the groups of its security context. There are no
limits of memory, and no network policies.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.launch.k8s.cluster import Object
from tests.launch.k8s.kubelet_log import ContainerLog
from tests.launch.k8s.pods import NEW_ROOT, _ip
from tests.launch.k8s.runtime import Mount, Process
from tests.launching import ROOT

VENV = "/opt/distmnist/.venv"
# Set by k8s/Dockerfile.
_IMAGE_ENV = {
    "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "OPAL_PREFIX": VENV,
    "PYTHONUNBUFFERED": "1",
    "HOME": "/home/distmnist",
}

# Sets up the root file system of a container, then executes its command.
_ENTER = (
    NEW_ROOT
    + r"""
hostname "$1"
files=$2 root=$3 base=$4 mounts=$5 mode=$6 user=$7 group=$8 groups=$9
shift 9
new_root
mount -t tmpfs -o mode=1777 none tmp
rm -rf etc/ssh home/distmnist
mkdir -p home/distmnist opt/distmnist
chown 1000:1000 home/distmnist
cp -r "$files/etc/." etc
# .venv may link to directories that a non-root user cannot access.
mount --rbind "$root" opt/distmnist
bind_readable "$root" "$base" "$(readlink -f "$root/.venv")"
while IFS='|' read -r source target how; do
  if [ -d "$source" ]; then
    mkdir -p ".$target"
  else
    mkdir -p ".$(dirname "$target")"
    [ -e ".$target" ] || : >".$target"
  fi
  mount --bind "$source" ".$target"
  [ "$how" = rw ] || mount -o remount,bind,ro ".$target"
done <"$mounts"
if [ "$mode" = ro ]; then
  grep -qF '|/tmp|' "$mounts" || mount -o remount,bind,ro tmp
  mount -o remount,bind,ro .
fi
exec chroot . setpriv --reuid="$user" --regid="$group" --groups="$groups" \
  --no-new-privs --bounding-set=-all --inh-caps=-all \
  sh -c 'cd /opt/distmnist && exec "$@"' sh "$@"
"""
)


class _Sandbox(Process):
    """A container in namespaces of its own."""

    def __init__(
        self,
        network: str,
        user: Sequence[str],
        command: Sequence[object],
        env: Mapping[str, str],
        log: ContainerLog,
    ):
        """Starts it.

        Args:
            network: namespace of its network.
            user: arguments of setpriv.
            command: enters its file system, and runs its command.
            env: environment variables.
            log: receives its output.
        """
        self._network, self._user = network, user
        enter = ["ip", "netns", "exec", network, "unshare", "--mount", "--uts", "--ipc"]
        enter += ["--pid", "--fork", "--kill-child", "--mount-proc"]
        super().__init__([*enter, *command], env, log)

    def exec(self, command: Sequence[str], seconds: float) -> int:
        within = ["nsenter", "-t", str(self._init()), "-p", "-m", "-n", "-r", "-w"]
        try:
            return subprocess.run(
                [*within, "setpriv", *self._user, *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            return 137

    def answers(self, port: int) -> bool:
        probe = ["bash", "-c", f"</dev/tcp/127.0.0.1/{port}"]
        command = ["ip", "netns", "exec", self._network, *probe]
        done = subprocess.run(command, capture_output=True, timeout=10)
        return done.returncode == 0

    def _init(self) -> int:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else pid


class Emulated:
    """The image of k8s/Dockerfile, as a context manager; see the module.

    Its pods share a network; /etc/hosts replaces the DNS of the cluster.
    """

    def __init__(self, directory: Path):
        """Creates no pod.

        Args:
            directory: for files of the pods.
        """
        self._directory = directory
        self._id = f"dk{os.getpid()}"
        self._switch = f"{self._id}-switch"
        self._count = itertools.count(2)
        self._pods: dict[str, tuple[str, str]] = {}  # by uid: network and address
        self._hosts: dict[str, Path] = {}  # by uid: its /etc/hosts
        self._names: dict[str, str] = {}  # by uid: the line of its names

    def __enter__(self) -> Emulated:
        """Creates the network."""
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        return self

    def __exit__(self, *_: object) -> None:
        """Removes it."""
        for network in [network for network, _ in self._pods.values()]:
            _ip("netns", "del", network)
        _ip("netns", "del", self._switch)

    def address(self, pod: Object) -> str:
        """Connects a pod to the network; returns its IP address."""
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        if uid not in self._pods:
            number = next(self._count)
            address = f"10.78.{number // 250}.{number % 250 + 2}"
            network, port = f"{self._id}-{number}", f"port{number}"
            _ip("netns", "add", network)
            pair = ("type", "veth", "peer", "name", "eth0", "netns", network)
            _ip("-n", self._switch, "link", "add", port, *pair)
            _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
            _ip("-n", network, "addr", "add", f"{address}/16", "dev", "eth0")
            _ip("-n", network, "link", "set", "eth0", "up")
            _ip("-n", network, "link", "set", "lo", "up")
            self._pods[uid] = network, address
            if spec.get("subdomain"):
                service = f"{spec['subdomain']}.{pod['metadata']['namespace']}.svc"
                names = f"{_hostname(pod)}.{service}"
                self._names[uid] = f"{address} {names} {names}.cluster.local\n"
        return self._pods[uid][1]

    def release(self, pod: Object) -> None:
        """Removes a pod from the network."""
        uid = pod["metadata"]["uid"]
        if uid in self._pods:
            self._hosts.pop(uid, None)
            self._names.pop(uid, None)
            self._write_hosts()
            _ip("netns", "del", self._pods.pop(uid)[0])

    def _write_hosts(self) -> None:
        """Tells all pods the names; in place, since the files are mounted."""
        names = "".join(self._names.values())
        for uid, path in list(self._hosts.items()):
            own = f"{self._pods[uid][1]} {path.parent.name}\n"
            path.write_text(f"127.0.0.1 localhost\n{own}{names}")

    def start(self, pod: Object, mounts: list[Mount], log: ContainerLog) -> Process:
        """Starts the container of a pod."""
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        hostname, container = _hostname(pod), spec["containers"][0]
        files = self._directory / uid / hostname
        etc = files / "etc"
        (etc / "ssh").mkdir(parents=True, exist_ok=True)
        for config in ("ssh_config", "sshd_config"):
            etc.joinpath("ssh", config).write_text((ROOT / "k8s" / config).read_text())
        account = "distmnist:x:1000:1000::/home/distmnist:/bin/bash\n"
        (etc / "passwd").write_text(f"root:x:0:0::/root:/bin/bash\n{account}")
        self._hosts[uid] = files / "hosts"
        self._write_hosts()
        table = files / "mounts"
        lines = [(files / "hosts", "/etc/hosts", False), *mounts]
        table.write_text(
            "".join(
                f"{s}|{t}|{'ro' if read_only else 'rw'}\n" for s, t, read_only in lines
            )
        )
        security = {**spec.get("securityContext", {}), **_security(container)}
        user, group = security.get("runAsUser", 0), security.get("runAsGroup", 0)
        groups = security.get("fsGroup", group)
        mode = "ro" if security.get("readOnlyRootFilesystem") else "rw"
        enter = ["sh", "-c", _ENTER, "sh", hostname, files, ROOT, sys.base_prefix]
        enter += [table, mode, user, group, groups]
        variables = {
            each["name"]: each.get("value", "") for each in container.get("env", ())
        }
        env = {**_IMAGE_ENV, "HOSTNAME": hostname, **variables}
        command = [*container["command"], *container.get("args", ())]
        as_user = (f"--reuid={user}", f"--regid={group}", f"--groups={groups}")
        network = self._pods[uid][0]
        return _Sandbox(network, as_user, [*enter, *command], env, log)


def _hostname(pod: Object) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


def _security(container: Object) -> Object:
    security: Object = container.get("securityContext", {})
    return security
