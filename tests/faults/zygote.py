"""Trains in forks of a process that has imported TensorFlow, under the preloaded shim.

usage: LD_PRELOAD=... python -m tests.faults.zygote

Reads commands, a JSON object a line, and answers each with one. Importing TensorFlow
takes seconds, a fork a hundredth of one. No operation runs before a fork: the threads
that TensorFlow would start do not survive it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any


def main() -> None:
    """Answers commands until standard input ends."""
    from distmnist.distributed import devices, launchers, process

    process.prepare_environment(launchers.single_process({}))
    devices.import_tensorflow()
    import sklearn.datasets  # noqa: F401

    from distmnist import trainer  # noqa: F401

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=answers)


def _run(command: dict[str, Any]) -> dict[str, Any]:
    """Trains in a fork.

    Args:
        command: "arguments" of distmnist.train; "root", "number", "code" and "all" of
            the shim; "output" and "calls", files; "seconds", a timeout.

    Returns:
        "status": of the fork; -N if signal N killed it; None if it timed out.
    """
    pid = os.fork()
    if pid == 0:
        _train(command)
    end = time.monotonic() + command["seconds"]
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"status": os.waitstatus_to_exitcode(status)}
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {"status": None}


def _train(command: dict[str, Any]) -> None:
    """Trains, in the fork, and exits."""
    from distmnist import train

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for descriptor in (1, 2):
        os.dup2(os.open(command["output"], flags | os.O_APPEND, 0o666), descriptor)
    calls = os.open(command["calls"], flags, 0o666)
    sys.argv = ["distmnist.train", *command["arguments"]]
    status = 1
    try:
        shim = ctypes.CDLL(None)
        shim.faults_arm(
            os.fsencode(command["root"]),
            ctypes.c_long(command["number"]),
            command["code"],
            int(command["all"]),
            calls,
        )
        train.main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
