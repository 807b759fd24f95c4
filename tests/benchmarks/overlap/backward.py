"""The backward pass of a layer, the same for all contenders.

`sleep` leaves the CPU alone, as a GPU's does; `compute` takes a core for as long.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

KINDS = ("sleep", "compute")
LAYERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what all contenders are told."""
    parser.add_argument("--kind", choices=KINDS, default="sleep")
    parser.add_argument("--layer_ms", type=float, default=25, help="of a layer")
    parser.add_argument("--megabytes", type=float, default=24, help="of all gradients")


def layer_size(megabytes: float) -> int:
    """Returns the number of float32 parameters of a layer."""
    return int(megabytes * 1e6) // 4 // LAYERS


def waiting(kind: str, layer_ms: float) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function that takes the time of a layer, and returns its argument."""
    matrix = np.zeros([192, 192], np.float32)

    def sleep(gradient: np.ndarray) -> np.ndarray:
        time.sleep(layer_ms / 1000)
        return gradient

    def compute(gradient: np.ndarray) -> np.ndarray:
        end = time.thread_time() + layer_ms / 1000  # of this thread alone
        while time.thread_time() < end:
            np.dot(matrix, matrix)
        return gradient

    return sleep if kind == "sleep" else compute
