"""Hosts: network namespaces, joined by links of a given rate through a switch.

Requires root, and `ip` and `tc` of iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

_SUBNET = "10.77.0"
# Can be chosen in all namespaces; BBR would search for the rate after each pause.
_CONGESTION = "net.ipv4.tcp_congestion_control=reno"
# Starts a command on a host, as ssh would.
_AGENT = """#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"
"""


def lacks() -> str:
    """Returns what is missing here; "" if nothing."""
    if os.geteuid() != 0:
        return "root"
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    return " and ".join(missing)


class Hosts:
    """Hosts with one link each, as a context manager.

    Attributes:
        names: of the hosts.
    """

    def __init__(self, count: int, gigabits: float):
        """Creates nothing yet.

        Args:
            count: number of hosts, at most 250.
            gigabits: rate at which a host sends, in Gbit/s.
        """
        own = f"distmnist-{os.getpid()}"  # others may run the same
        self.names = [f"{own}-{index}" for index in range(count)]
        self._switch = f"{own}-switch"
        self._rate = f"{gigabits * 1000:.0f}mbit"
        self._burst = f"{gigabits * 125:.0f}kb"  # of a millisecond
        self._directory = tempfile.TemporaryDirectory(prefix="distmnist-hosts-")
        self._agent = Path(self._directory.name, "agent")

    def __enter__(self) -> Hosts:
        """Creates the hosts."""
        self._agent.write_text(_AGENT)
        self._agent.chmod(0o755)
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        for index, name in enumerate(self.names):
            port = f"port{index}"
            _ip("netns", "add", name)
            _ip(
                *("-n", self._switch, "link", "add", port, "type", "veth"),
                *("peer", "name", "eth0", "netns", name),
            )
            _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
            _ip("-n", name, "addr", "add", f"{_SUBNET}.{index + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")
            self._limit(name)
            _ip("netns", "exec", name, "sysctl", "-qw", _CONGESTION)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Removes the hosts."""
        self._remove()
        self._directory.cleanup()

    def mpirun(self, ranks: int) -> list[str]:
        """Returns a launcher's command: ranks take turns on the hosts.

        Args:
            ranks: number of ranks.
        """
        slots = [len(range(i, ranks, len(self.names))) for i in range(len(self.names))]
        hosts = ",".join(f"{name}:{slots[i]}" for i, name in enumerate(self.names))
        transports = "tcp,self" if max(slots) == 1 else "tcp,vader,self"
        return [
            *(str(self._agent), self.names[0]),
            *("mpirun", "--map-by", "node", "--host", hosts, "-np", str(ranks)),
            *("--mca", "plm_rsh_agent", str(self._agent)),
            *("--mca", "btl", transports, "--mca", "btl_tcp_if_include", "eth0"),
            *("--mca", "oob_tcp_if_include", "eth0"),
        ]

    def address(self) -> str:
        """Returns the address of the first host."""
        return f"{_SUBNET}.1"

    def _limit(self, host: str) -> None:
        command = ("tc", "-n", host, "qdisc", "add", "dev", "eth0", "root", "tbf")
        limits = ("rate", self._rate, "burst", self._burst, "latency", "50ms")
        subprocess.run((*command, *limits), check=True)

    def _remove(self) -> None:
        for name in (*self.names, self._switch):
            subprocess.run(("ip", "netns", "delete", name), capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)
