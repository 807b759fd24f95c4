"""CPU cores: how many this process may use, by its affinity and its container's quota.

A container may see all cores of its host and have the time of a few: once its threads
have used that up, the kernel stops all of them for the rest of each tenth of a second.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


# The standard library's affinity calls are all that is needed of psutil, which does not
# know of quotas.
def available() -> int:
    """Returns the number of cores that this process may keep busy, at least 1."""
    return max(1, int(min(len(os.sched_getaffinity(0)), quota())))


def are_shared(local_size: int) -> bool:
    """Returns whether there are fewer cores than ranks on this host.

    Args:
        local_size: number of ranks on this host.
    """
    return min(os.cpu_count() or 1, quota()) < local_size


def share(local_size: int) -> int:
    """Returns the number of cores for each rank of this host, at least 1.

    The ranks share the host, and its quota if there is one; an affinity that is less is
    this rank's own, by its launcher.

    Args:
        local_size: number of ranks on this host.
    """
    shared = int(min(os.cpu_count() or 1, quota())) // local_size
    return max(1, min(len(os.sched_getaffinity(0)), shared))


def quota(groups: Path = _GROUPS, mount: Path = _MOUNT) -> float:
    """Returns the CPU quota in cores, the least of all groups; infinite without one.

    Of control groups of both versions; see cgroups(7).

    Args:
        groups: names the groups of this process.
        mount: where groups are mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for directory in _upwards(mount, path):
                quotas.append(_ratio(directory / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for directory in _upwards(mount / controllers, path):
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                quotas.append(_ratio(*(directory / name for name in names)))
    return min(quotas)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yields a group's directory and its parents'.

    A container's own group is the mount itself, although its path may be the host's.
    """
    relative = Path(path.strip("/"))
    for part in (relative, *relative.parents):
        yield mount / part


def _ratio(*files: Path) -> float:
    """Returns the quotient of two numbers in a file, or in one each; else infinity."""
    try:
        used, period = " ".join(file.read_text() for file in files).split()
        cores = int(used) / int(period)  # "max" is no limit
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return cores if cores > 0 else math.inf  # -1 is no limit
