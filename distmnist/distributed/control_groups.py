"""Control groups: the limits of this process's container; see cgroups(7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
"""Names the groups of this process."""

MOUNT = Path("/sys/fs/cgroup")
"""Where groups are mounted."""


def values(
    controller: str,
    second: tuple[str, ...],
    first: tuple[str, ...],
    groups: Path = GROUPS,
    mount: Path = MOUNT,
) -> Iterator[list[str]]:
    """Yields what files of each group hold, from this process's group upwards.

    Args:
        controller: "cpu" or "memory".
        second: names of the files in version 2.
        first: names of the files in version 1.
        groups: names the groups of this process.
        mount: where groups are mounted.

    Yields:
        The words in the files; a group that lacks one is left out.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = mount, second
        elif controller in controllers.split(","):
            root, names = mount / controllers, first
        else:
            continue
        for directory in _upwards(root, path):
            try:
                texts = [(directory / name).read_text() for name in names]
            except OSError:
                continue
            yield " ".join(texts).split()


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yields a group's directory and its parents'.

    A container's own group is the mount itself, although its path may be the host's.
    """
    relative = Path(path.strip("/"))
    for part in (relative, *relative.parents):
        yield mount / part
