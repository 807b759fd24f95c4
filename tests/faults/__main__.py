"""Tries faults of every kind, at every point, and prints a table of their outcomes.

usage: python -m tests.faults [--long [--part=K/N]] [--only=NAMES] [--seed=N]

Exits with status 1 if one was lost, hung, silent, or ended in a traceback.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.outcomes import GOOD, table

# Modules of this package, each with a function
# try_faults(directory, part, seed) -> Iterator[Fault], where part is a slice of all
# that there is to try, in an order that the seed decides; None: a sample.
SUITES = ("stops", "writes", "inputs", "soak")


def main() -> int:
    """Tries all faults, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="all points: hours")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th, from the K-th")
    parser.add_argument("--only", default=",".join(SUITES), help="of " + str(SUITES))
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--directory", type=Path, help="default: a temporary one")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="faults-"))
    print(f"seed {options.seed}, in {directory}")
    faults, begin = [], time.monotonic()
    first, count = (int(number) for number in options.part.split("/"))
    part = slice(first - 1, None, count) if options.long else None
    for name in options.only.split(","):
        suite = importlib.import_module(f"tests.faults.{name}")
        (directory / name).mkdir(parents=True)
        for fault in suite.try_faults(directory / name, part, options.seed):
            faults.append(fault)
            print(f"{fault.kind}, {fault.what}: {fault.outcome.value}", flush=True)
            if fault.outcome not in GOOD:
                print(f"--- {fault.outcome.value}: {fault.kind}, {fault.what}")
                print(fault.output, flush=True)
    print(table(faults))
    print(f"{time.monotonic() - begin:.0f} seconds")
    return int(any(fault.outcome not in GOOD for fault in faults))


if __name__ == "__main__":
    sys.exit(main())
