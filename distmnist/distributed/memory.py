"""Memory that is available to the processes of this host, or of its container."""

from __future__ import annotations

from pathlib import Path

from distmnist.distributed import control_groups
from distmnist.distributed.control_groups import GROUPS, MOUNT

_MEMINFO = Path("/proc/meminfo")


def available(
    meminfo: Path = _MEMINFO, groups: Path = GROUPS, mount: Path = MOUNT
) -> int:
    """Returns the bytes that can be used without swapping, or the container's limit.

    Args:
        meminfo: the kernel's account of the memory.
        groups: names the control groups of this process.
        mount: where groups are mounted.

    Returns:
        The least of what the kernel takes for available and the limits of all groups;
        0 if nothing is known.
    """
    found = []
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else ():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(int(value.split()[0]) * 1024)
    limits = control_groups.values(
        "memory", ("memory.max",), ("memory.limit_in_bytes",), groups, mount
    )
    found += [int(limit) for (limit,) in limits if limit.isdecimal()]  # or "max"
    return min(found, default=0)
