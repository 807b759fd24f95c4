"""Trains, and waits at one moment, so that a test can stop a process there.

Usage: stop_program.py MOMENT DIRECTORY [flags of distmnist.train]

At the moment each rank writes a file DIRECTORY/<rank>-<process id>, and sleeps.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 0.4
LOOP_CALL = 6  # of the graph


def main() -> None:
    """Trains."""
    moment, directory = sys.argv[1], Path(sys.argv[2])
    del sys.argv[1:3]
    from distmnist import train
    from distmnist.distributed import connect, devices

    @functools.cache  # the first time only
    def wait() -> None:
        names = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK")
        rank = next((os.environ[n] for n in names if n in os.environ), "0")
        (directory / f"{rank}-{os.getpid()}").touch()
        time.sleep(SECONDS)

    def at(owner: Any, name: str, call: int = 1) -> None:
        """Waits before a call of a function."""
        function: Callable[..., Any] = getattr(owner, name)
        calls = 0

        @functools.wraps(function)
        def waiting(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                wait()
            return function(*args, **kwargs)

        setattr(owner, name, waiting)

    if moment == "import":
        at(devices, "import_tensorflow")
    elif moment == "connect":
        at(connect, "_import_cluster")
    else:
        devices.import_tensorflow()
        from distmnist.checkpoint import manager
        from distmnist.metrics import evaluator
        from distmnist.trainer import Trainer

        if moment == "first step":
            at(Trainer, "train_block")
        elif moment == "loop":
            at(Trainer, "train_block", LOOP_CALL)
        elif moment == "evaluation":
            at(evaluator.Evaluator, "evaluate")
        elif moment == "saving":
            at(manager.CheckpointManager, "save")
    train.main()
    if moment == "shutdown":
        wait()


if __name__ == "__main__":
    main()
