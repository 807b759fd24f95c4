"""What every measured process does: time its steps, and report in one line."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

# The same for all contenders.
BATCH_SIZE = 100  # of each worker
LEARNING_RATE = 0.1
LAYERS = (784, 128, 32, 10)  # units

# The number of gradients: the weights and biases of all layers.
NUM_GRADIENTS = sum((n + 1) * units for n, units in zip(LAYERS, LAYERS[1:]))

# What precedes a report in the output of a process.
MARK = "BENCHMARK "

# The runner tells each process after how many seconds to give up.
TIMEOUT_VARIABLE = "DISTMNIST_BENCHMARK_TIMEOUT"

_WARM_UP_BLOCKS = 3

Steps = dict[str, float]  # what is measured of a process, by name


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that the runner gives to every process.

    Args:
        description: of the program.
    """
    # Whatever hangs shows where, and ends; also where a launcher does not end it.
    if TIMEOUT_VARIABLE in os.environ:
        faulthandler.dump_traceback_later(
            float(os.environ[TIMEOUT_VARIABLE]), exit=True
        )
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--data", default="", help="directory of MNIST, or nothing")
    arguments.add_argument("--blocks", type=int, default=20, help="timed blocks")
    arguments.add_argument("--block_steps", type=int, default=100, help="steps in each")
    return arguments


def timed(run_steps: Callable[[int], object], options: argparse.Namespace) -> Steps:
    """Times the steps of this process.

    Args:
        run_steps: takes so many steps, and returns once they are done.
        options: the arguments of `parser`.
    """
    run_steps(1)
    start_up = seconds_since_creation()
    for _ in range(_WARM_UP_BLOCKS):
        run_steps(options.block_steps)
    times = [
        seconds(lambda: run_steps(options.block_steps)) for _ in range(options.blocks)
    ]
    return measured([time / options.block_steps for time in times], start_up)


def measured(step_seconds: Sequence[float], start_up: float) -> Steps:
    """Puts together what is known of the steps of this process.

    Args:
        step_seconds: mean duration of a step in each block.
        start_up: seconds from the creation of the process to its first step's end.
    """
    return {
        "step_seconds": statistics.median(step_seconds),
        "start_up_seconds": start_up,
        "memory_mb": memory_mb(),
    }


def report(**values: Any) -> None:
    """Tells the runner; one process of a job does."""
    print(MARK + json.dumps(values), flush=True)


def seconds(action: Callable[[], object]) -> float:
    """Returns how long an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def seconds_since_creation() -> float:
    """Returns the age of this process, interpreter and imports included."""
    import psutil  # which Horovod needs too

    return time.time() - psutil.Process().create_time()


def memory_mb() -> float:
    """Returns the most memory that this process had resident so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
