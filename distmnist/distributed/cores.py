"""CPU cores: how many this process may use, by its affinity and its container's quota.

A container may see all cores of its host and have the time of a few: once its threads
have used that up, the kernel stops all of them for the rest of each tenth of a second.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from distmnist.distributed import control_groups
from distmnist.distributed.control_groups import GROUPS, MOUNT


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


def quota(groups: Path = GROUPS, mount: Path = MOUNT) -> float:
    """Returns the CPU quota in cores, the least of all groups; infinite without one.

    Args:
        groups: names the control groups of this process.
        mount: where groups are mounted.
    """
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    quotas = control_groups.values("cpu", ("cpu.max",), names, groups, mount)
    return min(map(_ratio, quotas), default=math.inf)


def _ratio(values: list[str]) -> float:
    """Returns the quotient of two numbers; else infinity."""
    try:
        used, period = values
        cores = int(used) / int(period)  # "max" is no limit
    except (ValueError, ZeroDivisionError):
        return math.inf
    return cores if cores > 0 else math.inf  # -1 is no limit
