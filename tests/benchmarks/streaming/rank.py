"""One rank of a measurement: NAME DIRECTORY SECONDS SIZE RANK.

Prints "ready" before it reads anything, waits for a line, and prints images a second.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.benchmarks.streaming.pipelines import PIPELINES

_WARM_UP_SECONDS = 1.0


def main() -> None:
    """Measures, and prints the rate."""
    name, directory, seconds, size, rank = sys.argv[1:]
    package, pipeline = PIPELINES[name]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    __import__(package)
    print("ready", flush=True)
    sys.stdin.readline()
    batches = pipeline(Path(directory), int(rank), int(size))
    next(batches)  # workers have started
    warm = time.perf_counter() + _WARM_UP_SECONDS
    while time.perf_counter() < warm:
        next(batches)
    begin, count = time.perf_counter(), 0
    for images in batches:
        count += images
        took = time.perf_counter() - begin
        if took > float(seconds):
            break
    print(count / took, flush=True)
    os._exit(0)  # no pipeline is waited for


if __name__ == "__main__":
    main()
