"""Training beside other processes, and in containers with a CPU quota.

python -m tests.benchmarks.neighbours [--busy=0,1,2] [--quotas=0.5,1,2] [--repeats=3]
    [--only=NAMES] [--data=DIR] [--out=DIR]

The tutorial's network; quotas are of a control group, and require root. Runs of all
contenders are interleaved. Prints a table of medians, and writes results.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import control_groups
from tests.benchmarks import data, environment, processes
from tests.benchmarks.contenders import CONTENDERS, choose
from tests.benchmarks.measuring import BATCH_SIZE

_NAMES = "distmnist_1,distmnist_2,distmnist_4,horovod_2,torch_ddp_2"
_STEPS = ("--blocks=10", "--block_steps=100")
_TIMEOUT = 300.0  # seconds


class Case(NamedTuple):
    """What is beside the training.

    Attributes:
        busy: number of busy processes.
        quota: cores that the training may use; 0: all.
    """

    busy: int = 0
    quota: float = 0

    def __str__(self) -> str:
        """Returns a title."""
        if self.quota:
            return f"quota of {self.quota:g} cores"
        return f"{self.busy} busy" if self.busy else "idle"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures all contenders in all cases.

    Args:
        argv: command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a contender failed.
    """
    options = _parse(argv)
    about = environment.describe(options.data)
    cases = [Case(busy=count) for count in options.busy]
    cases += [Case(quota=cores) for cores in options.quotas]
    rates: dict[Case, dict[str, list[float]]] = {case: {} for case in cases}
    failures = []
    for _, case, contender in itertools.product(
        range(options.repeats), cases, options.contenders
    ):
        command = contender.command([f"--data={options.data}", *_STEPS])
        command = [*_beside(case.busy), *command]
        with _limited(case.quota) as words:
            outcome = processes.run([*words, *command], _TIMEOUT, contender.environment)
        if outcome.failure:
            failures.append(outcome.failure)
            continue
        rate = contender.ranks * BATCH_SIZE / outcome.result["step_seconds"]
        rates[case].setdefault(contender.name, []).append(rate)
        print(f"{case}, {contender.name}: {rate:,.0f} examples/s", flush=True)
    print(table(rates))
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{"case": str(case), "examples_per_second": rates[case]} for case in cases]
    written = {"environment": about, "cases": rows, "failures": failures}
    (options.out / "results.json").write_text(json.dumps(written, indent=1))
    for failure in failures:
        print(f"\n{failure}")
    print(f"\nWritten to {options.out}")
    return bool(failures)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", default="0,1,2", help="numbers of busy processes")
    parser.add_argument("--quotas", default="0.5,1,2", help="in cores; '': none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default=_NAMES, help="contenders, with wildcards")
    parser.add_argument("--data", default="", help="MNIST directory")
    parser.add_argument("--out", type=Path, default=Path("logs/neighbours"))
    options = parser.parse_args(argv)
    options.busy = [int(word) for word in options.busy.split(",") if word]
    options.quotas = [float(word) for word in options.quotas.split(",") if word]
    with control_groups.with_quota(1) as group:
        if options.quotas and not group:
            print("quotas: skipped, they require root and control groups")
            options.quotas = []
    options.data = str(Path(options.data).resolve()) * data.is_mnist(options.data)
    names = choose(parser, [each.name for each in CONTENDERS], options.only)
    options.contenders = [each for each in CONTENDERS if each.name in names]
    for each in list(options.contenders):
        if each.lacks():
            print(f"{each.name}: skipped, {each.lacks()} is not installed")
            options.contenders.remove(each)
    return options


def _beside(count: int) -> list[str]:
    """Returns the words before a command that keep cores busy while it runs.

    In the same session: Linux shares cores out by sessions first (autogroup), so that
    neighbours in others would harm the training less.

    Args:
        count: number of busy processes.
    """
    loop = f"{shlex.quote(sys.executable)} -c 'while True: pass' >/dev/null 2>&1 &"
    script = f"{loop} " * count + '"$@"; status=$?; kill $(jobs -p); exit $status'
    return ["bash", "-c", script, "bash"] if count else []


@contextlib.contextmanager
def _limited(quota: float) -> Iterator[list[str]]:
    """Yields the words before a command that give it a quota.

    Args:
        quota: in cores; 0: none.
    """
    if not quota:
        yield []
        return
    with control_groups.with_quota(quota) as group:
        assert group
        yield control_groups.inside(group)


def table(rates: dict[Case, dict[str, list[float]]]) -> str:
    """Returns a Markdown table of medians: examples/s, and over the first case's.

    Args:
        rates: examples/s, by case and name of the contender.
    """
    names = list(dict.fromkeys(name for found in rates.values() for name in found))
    lines = [f"| | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    first = next(iter(rates.values()), {})
    for case, found in rates.items():
        cells = [str(case)]
        for name in names:
            if name not in found:
                cells.append("")
                continue
            rate = statistics.median(found[name])
            base = statistics.median(first[name]) if name in first else 0
            ratio = f" ({rate / base:.2f})" if base and found is not first else ""
            cells.append(f"{rate:,.0f}{ratio}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
