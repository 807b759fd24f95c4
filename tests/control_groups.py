"""Control groups of this machine, which limit the cores of the processes in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PERIOD = 100_000  # microseconds, as containers have
_MOUNT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def with_quota(cores: float) -> Iterator[Path | None]:
    """Yields the directory of a group with a quota; None if none can be created here.

    Args:
        cores: the quota.
    """
    used = str(int(cores * _PERIOD))
    # Of version 2, and of version 1, whose default period is the same.
    for mount, file, content in (
        (_MOUNT, "cpu.max", f"{used} {_PERIOD}"),
        (_MOUNT / "cpu", "cpu.cfs_quota_us", used),
    ):
        group = mount / f"distmnist-{os.getpid()}"
        if not (mount / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / file).write_text(content)
            except OSError:  # no CPU controller here
                continue
            yield group
        finally:
            group.rmdir()
        return
    yield None


def inside(group: Path) -> list[str]:
    """Returns the words before a command that run it in a group."""
    return ["sh", "-c", f'echo $$ >"{group}/cgroup.procs" && exec "$@"', "sh"]
