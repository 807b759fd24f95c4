"""Ends stopped processes of an elastic job, whose launcher does not.

A launcher ends all ranks when one fails; that of an elastic job replaces that one, and
waits for the others, of which one may never run again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_JOB = ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT")


def end_stopped_peers() -> list[int]:
    """Kills the ranks of this elastic job, on this host, that are stopped.

    Returns:
        Their process ids; empty if the job is not elastic.
    """
    if os.environ.get("HOROVOD_ELASTIC") != "1":
        return []
    mine = {f"{name}={os.environ.get(name)}".encode() for name in _JOB}
    ended = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "T":
                continue
            environment = set((directory / "environ").read_bytes().split(b"\0"))
            if mine <= environment:
                os.kill(int(directory.name), signal.SIGKILL)
                ended.append(int(directory.name))
    return ended
