"""Shared by all measured processes: timing of steps, and reports to the runner."""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BATCH_SIZE = 100  # per worker, for all contenders


class Task(NamedTuple):
    """Training of a network, the same for all contenders.

    Attributes:
        learning_rate: Learning rate, not scaled with the number of workers.
        momentum: Momentum of SGD; 0: plain SGD.
        block_steps: Default number of steps in a timed block.
    """

    learning_rate: float
    momentum: float
    block_steps: int


# By --model: the tutorial's network, and that of Horovod's MNIST example.
TASKS = {"mlp": Task(0.1, 0.0, 100), "cnn": Task(0.02, 0.9, 10)}

LAYERS = (784, 128, 32, 10)  # units of the mlp

# Number of the mlp's gradients: weights and biases of all layers.
NUM_GRADIENTS = sum((n + 1) * units for n, units in itertools.pairwise(LAYERS))

# Prefix of a report in the output of a process.
MARK = "BENCHMARK "

# Variable with the timeout of a process in seconds, set by the runner.
TIMEOUT_VARIABLE = "DISTMNIST_BENCHMARK_TIMEOUT"

_WARM_UP_BLOCKS = 3

Steps = dict[str, float]  # measurements of a process, by name


def parser(
    description: str | None, models: Sequence[str] = tuple(TASKS)
) -> argparse.ArgumentParser:
    """Returns a parser of the arguments common to all measured processes.

    Args:
        description: Description of the program.
        models: Networks that the program can train.
    """
    # A hung process prints its stack and exits, even if its launcher does not end it.
    if TIMEOUT_VARIABLE in os.environ:
        faulthandler.dump_traceback_later(
            float(os.environ[TIMEOUT_VARIABLE]), exit=True
        )
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--model", choices=models, default="mlp")
    arguments.add_argument("--data", default="", help="MNIST directory")
    arguments.add_argument("--blocks", type=int, default=20, help="timed blocks")
    arguments.add_argument("--block_steps", type=int, default=100, help="steps in each")
    return arguments


def timed(run_steps: Callable[[int], object], options: argparse.Namespace) -> Steps:
    """Times the steps of this process.

    Args:
        run_steps: Takes the given number of steps, and returns when they are complete.
        options: Arguments of `parser`.

    Returns:
        The measurements.
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
    """Returns the measurements of this process.

    Args:
        step_seconds: Mean step time in each block, in seconds.
        start_up: Seconds from the creation of the process to the end of its first step.
    """
    return {
        "step_seconds": statistics.median(step_seconds),
        "start_up_seconds": start_up,
        "memory_mb": memory_mb(),
    }


def report(**values: Any) -> None:
    """Prints a report for the runner; called by one process of a job."""
    print(MARK + json.dumps(values), flush=True)


def seconds(action: Callable[[], object]) -> float:
    """Returns the duration of an action in seconds."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def seconds_since_creation() -> float:
    """Returns the age of this process, including interpreter start and imports."""
    import psutil  # a dependency of Horovod

    return time.time() - psutil.Process().create_time()


def memory_mb() -> float:
    """Returns the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
