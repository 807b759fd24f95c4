"""Images a second of input pipelines, on the same files, warm and cold.

python -m tests.benchmarks.streaming [--gigabytes=8] [--side=224] [--repeats=3]
    [--ranks=1,2] [--cache=warm,cold] [--seconds=5] [--only=NAMES] [--data=DIRECTORY]
    [--out=DIR]

Cold: after the page cache was emptied, which requires root. Runs are interleaved.
Prints a table of medians, and writes results.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import environment
from tests.benchmarks.contenders import choose, is_missing
from tests.benchmarks.streaming import images
from tests.benchmarks.streaming.pipelines import PIPELINES, array_records

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_START_SECONDS = 60.0


class Case(NamedTuple):
    """What is measured.

    Attributes:
        ranks: number of processes.
        cold: whether files have to be read from the disk.
    """

    ranks: int
    cold: bool

    def __str__(self) -> str:
        """Returns a title."""
        ranks = f"{self.ranks} rank{'s' * (self.ranks > 1)}"
        return f"{ranks}, {'cold' if self.cold else 'warm'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures all pipelines in all cases.

    Args:
        argv: command-line arguments; by default those of the process.

    Returns:
        The exit status.
    """
    options = _parse(argv)
    images.prepare(options.data, options.gigabytes, options.side)
    if "grain" in options.names:
        array_records(options.data)
    if "cold" in options.cache and not os.access(_DROP_CACHES, os.W_OK):
        print("cold: skipped, emptying the page cache requires root")
        options.cache.remove("cold")
    cases = [
        Case(int(ranks), cache == "cold")
        for ranks, cache in itertools.product(options.ranks, options.cache)
    ]
    rates: dict[Case, dict[str, list[float]]] = {case: {} for case in cases}
    for _, case, name in itertools.product(
        range(options.repeats), cases, options.names
    ):
        rate = _measure(case, name, options.data, options.seconds)
        rates[case].setdefault(name, []).append(rate)
        print(f"{case}, {name}: {rate:,.0f} images/s", flush=True)
    print(table(rates))
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{"case": str(case), "images_per_second": rates[case]} for case in cases]
    written = {"environment": environment.describe(""), "cases": rows}
    (options.out / "results.json").write_text(json.dumps(written, indent=1))
    print(f"\nWritten to {options.out}")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    for name, default in (("--ranks", "1,2"), ("--cache", "warm,cold")):
        parser.add_argument(
            name, type=lambda text: text.split(","), default=default.split(",")
        )
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", default="*", help="names, with wildcards")
    parser.add_argument("--data", type=Path, default=Path("logs/streaming/images"))
    parser.add_argument("--out", type=Path, default=Path("logs/streaming"))
    options = parser.parse_args(argv)
    options.names = []
    for name in choose(parser, list(PIPELINES), options.only):
        package, _ = PIPELINES[name]
        if is_missing(package):
            print(f"{name}: skipped, {package} is not installed")
        else:
            options.names.append(name)
    return options


def _measure(case: Case, name: str, data: Path, seconds: float) -> float:
    """Returns the images a second of all ranks together."""
    if case.cold:
        os.sync()
        _DROP_CACHES.write_text("3")
    program = (sys.executable, "-m", "tests.benchmarks.streaming.rank")
    arguments = [*program, name, str(data), str(seconds), str(case.ranks)]
    ranks = [
        subprocess.Popen(
            [*arguments, str(rank)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for rank in range(case.ranks)
    ]
    try:
        for rank in ranks:  # all are ready before one begins
            assert rank.stdout
            assert rank.stdout.readline() == b"ready\n", f"{name} failed"
        for rank in ranks:
            assert rank.stdin
            rank.stdin.write(b"go\n")
            rank.stdin.flush()
        timeout = time.monotonic() + seconds + _START_SECONDS
        outputs = [
            rank.communicate(timeout=timeout - time.monotonic())[0] for rank in ranks
        ]
        return sum(map(float, outputs))
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def table(rates: dict[Case, dict[str, list[float]]]) -> str:
    """Returns a Markdown table of medians: images/s, and distmnist's over each."""
    names = list(dict.fromkeys(name for found in rates.values() for name in found))
    lines = [f"| | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for case, found in rates.items():
        medians = {name: statistics.median(times) for name, times in found.items()}
        cells = []
        for name in names:
            rate = medians.get(name, 0.0)
            ratio = medians.get("distmnist", 0.0) / rate if rate else 0.0
            more = f" ({ratio:.2f})" if ratio and name != "distmnist" else ""
            cells.append(f"{rate:,.0f}{more}")
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
