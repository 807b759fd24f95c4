"""Emulates the pods of a job on one machine, for tests that run as root.

A pod is a process in separate namespaces. Its file system is an overlay of this
machine's, which is discarded afterwards, with the files of the image and of the MPI
Operator at their paths in a cluster: the checkout in /opt/distmnist, the keys in
/home/distmnist/.ssh, the host file in /etc/mpi. Volumes, a read-only root file system
and what happens at the end of a pod are those of its template. Its processes run as a
non-root user without capabilities. A bridge connects the pods; /etc/hosts replaces the
DNS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.launching import ROOT

_COUNT = itertools.count()

# The files of a pod that list the paths of its volumes, and the volumes' kinds.
_VOLUMES = {"claims": "persistentVolumeClaim", "empty": "emptyDir"}

# Shell functions: enters a root file system above the host's, which may be changed, and
# binds directories of the host in it, which all users can read.
NEW_ROOT = r"""
set -eu
new_root() {
  mount -t tmpfs none /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay none -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
  cd /mnt/root
  mount -t proc none proc
  mount -t sysfs none sys
  mount --rbind /dev dev
  mount -t tmpfs none dev/shm
}
bind_readable() {
  for path in "$@"; do
    mkdir -p ".$path"
    mountpoint -q ".$path" || mount --rbind "$path" ".$path"
    while [ "$path" != / ]; do
      path=$(dirname "$path")
      chmod o+rx ".$path"
    done
  done
}
"""

# Sets up the file system of the pod, then executes its command.
_ENTER = (
    NEW_ROOT
    + r"""
pod=$1 hostname=$2 root=$3 base=$4 data=$5 root_mode=$6
shift 6
hostname "$hostname"
new_root
rm -rf etc/ssh
cp -r "$pod/etc/." etc
# .venv may link to directories that a non-root user cannot access.
mkdir -p opt/distmnist
mount --rbind "$root" opt/distmnist
bind_readable "$root" "$base"
mkdir -p home/distmnist/.ssh
chown 1000:1000 home/distmnist
while read -r path; do # a claim
  mkdir -p ".$path"
  mount --bind "$data" ".$path"
done <"$pod/claims"
while read -r path; do # an emptyDir
  mkdir -p ".$path"
  mount -t tmpfs -o mode=2777,gid=1000 none ".$path"
done <"$pod/empty"
# The keys are a volume as well: an emptyDir at a parent does not hide them.
mkdir -p home/distmnist/.ssh
mount -t tmpfs none home/distmnist/.ssh
cp "$pod/ssh/"* home/distmnist/.ssh
chown -R root:1000 home/distmnist/.ssh
chmod 640 home/distmnist/.ssh/*
mount -o "remount,bind,$root_mode" . # not what is mounted on it
exec chroot . setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all \
  sh -c 'cd /opt/distmnist && exec "$@"' sh "$@"
"""
)


def missing() -> str:
    """Returns why pods cannot be emulated here; "" if they can."""
    if os.geteuid() != 0:
        return "requires root"
    for program in ("ip", "unshare", "setpriv", "nsenter", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"requires {program}"
    if not os.path.exists("/usr/sbin/sshd"):
        return "requires /usr/sbin/sshd"
    overlay = (
        "mount -t tmpfs none /mnt && cd /mnt && mkdir u w r && "
        "mount -t overlay none -o lowerdir=/,upperdir=u,workdir=w r"
    )
    tried = subprocess.run(["unshare", "-mn", "sh", "-c", overlay], capture_output=True)
    return "" if tried.returncode == 0 else "requires namespaces and overlayfs"


def _ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, timeout=20)


class Pod:
    """A running pod."""

    def __init__(
        self,
        name: str,
        namespace: str,
        command: Sequence[str],
        env: Mapping[str, str],
        template: Mapping[str, Any],
    ):
        """Starts the pod; see `Pods.start`."""
        self.name = name
        self.namespace = namespace
        self._env = dict(env)
        self._spec = template["spec"]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        """Output so far."""
        with open(f"/proc/self/fd/{self._log.fileno()}") as log:
            return log.read()

    def poll(self) -> int | None:
        """Returns the exit status; None while the pod runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """Returns the exit status; fails the test after a timeout in seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} timed out:\n{self.log}") from None

    def stop(self) -> int:
        """Ends the pod as the kubelet does, and returns its exit status.

        The preStop hook, then SIGTERM to the init process; after the termination grace
        period, all processes are killed.
        """
        end = time.monotonic() + self._spec["terminationGracePeriodSeconds"]
        hook = self._spec["containers"][0].get("lifecycle", {}).get("preStop")
        if hook:
            with contextlib.suppress(subprocess.TimeoutExpired):
                left = end - time.monotonic()
                done = self.exec(hook["exec"]["command"], timeout=left)
                assert done.returncode == 0, f"{self.name}: preStop: {done.stderr}"
        if self.poll() is None:
            os.kill(self._init(), signal.SIGTERM)
        try:
            return self._process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            return 128 + signal.SIGKILL

    def kill(self) -> None:
        """Kills all processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def disconnect(self) -> None:
        """Disconnects the network without closing connections, as a failed node."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def reconnect(self) -> None:
        """Connects the network again."""
        _ip("-n", self.namespace, "link", "set", "eth0", "up")

    def exec(
        self, command: Sequence[str], timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the pod, as `kubectl exec` does."""
        within = ["nsenter", "-t", str(self._init()), "-p", "-m", "-n", "-r", "-w"]
        user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        return subprocess.run(
            [*within, *user, *command],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def _init(self) -> int:
        """Returns the host's process id of the init process."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])


class Pods:
    """The pods of a job with network, volume and host names, as a context manager."""

    def __init__(self, job: str, hosts: Mapping[str, Path], data: Path):
        """Creates a job without pods.

        Args:
            job: Name of the job.
            hosts: Names of the pods and, for each, the directory to copy to /etc/mpi.
            data: Volume, mounted at /data.
        """
        self.data = data
        os.chown(data, 1000, 1000)
        self._id = f"dm{os.getpid()}x{next(_COUNT)}"
        self._files = Path(tempfile.mkdtemp(prefix="pods-"))
        self._hosts = hosts
        self._running: list[Pod] = []
        self._addresses = {name: f"10.77.0.{i}" for i, name in enumerate(hosts, 2)}
        self._namespaces: list[str] = []
        self.names = "127.0.0.1 localhost\n" + "".join(
            f"{self._addresses[name]} {name}.{job}-worker.default.svc {name}\n"
            for name in hosts
        )

    def __enter__(self) -> Pods:
        """Creates the keys and the network."""
        keys = self._files / "ssh"
        keys.mkdir()
        generate = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-m", "PEM", "-N"]
        subprocess.run([*generate, "", "-f", str(keys / "id_rsa")], check=True)
        shutil.copy(keys / "id_rsa.pub", keys / "authorized_keys")
        self._switch = self._add_namespace("switch")
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        for i, (name, address) in enumerate(self._addresses.items()):
            namespace, port = self._add_namespace(name), f"port{i}"
            pair = ("type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", self._switch, "link", "add", port, *pair)
            _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
            _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        """Kills the pods, and removes network and files."""
        for pod in self._running:
            pod.kill()
        for namespace in self._namespaces:
            _ip("netns", "del", namespace)
        shutil.rmtree(self._files)

    def _add_namespace(self, name: str) -> str:
        namespace = f"{self._id}-{name}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        return namespace

    def add_file(self, host: str, name: str, text: str) -> None:
        """Adds an executable file to /etc/mpi of a pod."""
        path = self._hosts[host] / name
        path.write_text(text)
        path.chmod(0o555)

    def start(
        self,
        name: str,
        template: Mapping[str, Any],
        env: Mapping[str, str],
        command: Sequence[str] | None = None,
        names: str | None = None,
    ) -> Pod:
        """Starts a pod.

        Args:
            name: Name of the pod, one of the hosts.
            template: Pod template, of the manifests.
            env: Environment variables of the operator and the image; those of the
                template are added.
            command: Command to run; by default that of the template.
            names: Content of /etc/hosts; by default it names all pods.

        Returns:
            The pod, whose file system may not be complete yet.
        """
        namespace = f"{self._id}-{name}"
        container = template["spec"]["containers"][0]
        files = self._files / f"{name}-{next(_COUNT)}"
        etc = files / "etc"
        etc.mkdir(parents=True)
        shutil.copytree(self._files / "ssh", files / "ssh")
        shutil.copytree(self._hosts[name], etc / "mpi")
        (etc / "ssh").mkdir()
        for config in ("ssh_config", "sshd_config"):
            shutil.copy(ROOT / "k8s" / config, etc / "ssh")
        user = "distmnist:x:1000:1000::/home/distmnist:/bin/bash\n"
        (etc / "passwd").write_text(f"root:x:0:0::/root:/bin/bash\n{user}")
        (etc / "hosts").write_text(self.names if names is None else names)
        for kind, name_in_template in _VOLUMES.items():
            paths = _mount_paths(template, name_in_template)
            (files / kind).write_text("".join(f"{path}\n" for path in paths))
        given = {item["name"]: item["value"] for item in container.get("env", ())}
        security = container.get("securityContext", {})
        mode = "ro" if security.get("readOnlyRootFilesystem") else "rw"
        _ip("-n", namespace, "link", "set", "eth0", "up")
        enter = ["sh", "-c", _ENTER, "sh", files, name, ROOT, sys.base_prefix]
        words = (*enter, self.data, mode, *(command or container["command"]))
        pod = Pod(
            name,
            namespace,
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "--uts", "--ipc"]
            + ["--pid", "--fork", "--kill-child", "--mount-proc"]
            + [str(word) for word in words],
            {**env, **given, "HOME": "/home/distmnist", "HOSTNAME": name},
            template,
        )
        self._running.append(pod)
        return pod


def _mount_paths(template: Mapping[str, Any], kind: str) -> list[str]:
    """Returns where a pod template mounts its volumes of a kind."""
    spec = template["spec"]
    names = {v["name"] for v in spec.get("volumes", ()) if kind in v}
    mounts = spec["containers"][0].get("volumeMounts", ())
    return [mount["mountPath"] for mount in mounts if mount["name"] in names]
