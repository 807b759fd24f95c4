"""Pods of a job, rehearsed on one machine: for the tests, as root.

A pod is a process in namespaces of its own, with the file system of this machine
under a layer that is thrown away, in which the files of the image and of the MPI
Operator are where they are in a cluster: the checkout in /opt/distmnist, the keys in
/home/distmnist/.ssh, the host file in /etc/mpi, the volume in /data.  Its processes
are those of an ordinary user without capabilities.  A bridge joins all pods; names
stand in /etc/hosts, for want of a DNS.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.launching import ROOT

_COUNT = itertools.count()

# Builds the pod's file system, and becomes its command.
_ENTER = r"""
set -eu
pod=$1 hostname=$2 root=$3 base=$4 data=$5
shift 5
hostname "$hostname"
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay none -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc none proc
mount -t sysfs none sys
mount --rbind /dev dev
mount -t tmpfs none dev/shm
rm -rf etc/ssh
cp -r "$pod/etc/." etc
# What .venv leads to may be in places that an ordinary user does not enter.
mkdir -p "opt/distmnist" ".$root" ".$base"
mount --rbind "$root" opt/distmnist
for path in "$root" "$base"; do
  mountpoint -q ".$path" || mount --rbind "$path" ".$path"
  while [ "$path" != / ]; do
    path=$(dirname "$path")
    chmod o+rx ".$path"
  done
done
mkdir -p data home/distmnist/.ssh
mount --bind "$data" data
cp "$pod/ssh/"* home/distmnist/.ssh
chown -R root:1000 home/distmnist/.ssh
chown 1000:1000 home/distmnist
chmod 640 home/distmnist/.ssh/*
exec chroot . setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all \
  sh -c 'cd /opt/distmnist && exec "$@"' sh "$@"
"""


def missing() -> str:
    """Returns why pods can't be rehearsed here; "" if they can."""
    if os.geteuid() != 0:
        return "takes root"
    for program in ("ip", "unshare", "setpriv", "nsenter", "ssh-keygen", "pgrep"):
        if shutil.which(program) is None:
            return f"takes {program}"
    if not os.path.exists("/usr/sbin/sshd"):
        return "takes /usr/sbin/sshd"
    overlay = (
        "mount -t tmpfs none /mnt && cd /mnt && mkdir u w r && "
        "mount -t overlay none -o lowerdir=/,upperdir=u,workdir=w r"
    )
    tried = subprocess.run(["unshare", "-mn", "sh", "-c", overlay], capture_output=True)
    return "" if tried.returncode == 0 else "takes namespaces and overlayfs"


def _ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, timeout=20)


class Pod:
    """A pod that runs."""

    def __init__(self, name: str, namespace: str, command: Sequence[str], env: Any):
        """Starts it; see `Pods.start`."""
        self.name = name
        self.namespace = namespace
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        """All that it has said so far."""
        with open(f"/proc/self/fd/{self._log.fileno()}") as log:
            return log.read()

    def poll(self) -> int | None:
        """Returns its exit status, if it has ended."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """Returns its exit status; fails the test if it does not end in time."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end:\n{self.log}") from None

    def stop(self) -> None:
        """Sends SIGTERM to its first process, as Kubernetes does."""
        os.kill(self._init(), signal.SIGTERM)

    def kill(self) -> None:
        """Kills all its processes, as a lost container."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def vanish(self) -> None:
        """Cuts it off without a goodbye, as a machine without power."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def exec(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command within it, as `kubectl exec` does."""
        within = ["nsenter", "-t", str(self._init()), "-p", "-m", "-n", "-r", "-w"]
        user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        return subprocess.run(
            [*within, *user, *command],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _init(self) -> int:
        """Returns the pid, on this machine, of its first process."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])


class Pods:
    """The pods of one job, their network, volume and host names; a context."""

    def __init__(self, job: str, hosts: Mapping[str, Path], data: Path):
        """Makes the network and the job's keys; starts nothing.

        Args:
            job: name of the job.
            hosts: names of the pods that there will be, and for each a directory
                whose files it finds in /etc/mpi.
            data: the volume, mounted in /data.
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
        """Makes the keys and the network."""
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
        """Kills what runs, and leaves nothing."""
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
        """Gives a pod a file in /etc/mpi, which may be executed."""
        path = self._hosts[host] / name
        path.write_text(text)
        path.chmod(0o555)

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        names: str | None = None,
    ) -> Pod:
        """Starts a pod.

        Args:
            name: one of the hosts.
            command: what it runs.
            env: what the operator and the image set.
            names: its /etc/hosts; by default that with all pods.

        Returns:
            The pod, which may still be building its file system.
        """
        namespace = f"{self._id}-{name}"
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
        _ip("-n", namespace, "link", "set", "eth0", "up")
        enter = ["sh", "-c", _ENTER, "sh", files, name, ROOT, sys.base_prefix]
        pod = Pod(
            name,
            namespace,
            ["ip", "netns", "exec", namespace, "unshare", "--mount", "--uts", "--ipc"]
            + ["--pid", "--fork", "--kill-child", "--mount-proc"]
            + [str(word) for word in (*enter, self.data, *command)],
            {**env, "HOME": "/home/distmnist", "HOSTNAME": name},
        )
        self._running.append(pod)
        return pod
