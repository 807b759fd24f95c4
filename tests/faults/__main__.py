"""Tries faults of every kind, at every point, and prints a table of their outcomes.

usage: python -m tests.faults [--long] [--only=NAMES] [--seed=N] [--directory=DIR]

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
# try_faults(directory, long, seed) -> Iterator[Fault].
SUITES = ("stops", "writes", "inputs", "soak")


def main() -> int:
    """Tries all faults, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="all points: an hour")
    parser.add_argument("--only", default=",".join(SUITES), help="of " + str(SUITES))
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--directory", type=Path, help="default: a temporary one")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="faults-"))
    print(f"seed {options.seed}, in {directory}")
    faults, begin = [], time.monotonic()
    for name in options.only.split(","):
        suite = importlib.import_module(f"tests.faults.{name}")
        (directory / name).mkdir(parents=True)
        for fault in suite.try_faults(directory / name, options.long, options.seed):
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
