"""Step times where hosts have a slow network, against the shortest possible.

python -m tests.benchmarks.overlap [--kinds=sleep,compute] [--megabytes=0.4,24,200]
    [--gigabits=1,10] [--ranks=2,4] [--repeats=3] [--only=NAMES] [--out=DIR]

Eight layers, whose backward passes take 25 ms each, on as many hosts as ranks, which
are network namespaces: requires root. No step can be shorter than its backward pass
alone, or than a bare allreduce of its gradients. All runs are interleaved.
Prints a table of medians, and writes results.json and plot.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import environment, processes
from tests.benchmarks.contenders import choose, is_missing
from tests.benchmarks.overlap import backward, model, plot
from tests.benchmarks.overlap.hosts import Hosts, lacks

_BLOCKS = ("--blocks=4", "--block_steps=4")
_TIMEOUT = 300.0  # seconds


class Case(NamedTuple):
    """What is trained where.

    Attributes:
        kind: of the backward pass.
        ranks: number of ranks, each on a host of its own.
        gigabits: rate of the network, in Gbit/s.
        megabytes: of gradients.
    """

    kind: str
    ranks: int
    gigabits: float
    megabytes: float

    @property
    def arguments(self) -> list[str]:
        """Arguments of all programs."""
        return [f"--kind={self.kind}", f"--megabytes={self.megabytes}", *_BLOCKS]


class Contender(NamedTuple):
    """A program to measure.

    Attributes:
        title: name in the table.
        module: module in this package, or, with a dot, in the one above.
        arguments: more arguments.
        alone: whether it is one process, without communication.
        needs: optional package; the contender is skipped without it.
    """

    title: str
    module: str
    arguments: Sequence[str] = ()
    alone: bool = False
    needs: str = ""


CONTENDERS = {
    "alone": Contender("backward pass alone", "distmnist_steps", alone=True),
    "bare": Contender("bare allreduce", ".limits.allreduce"),
    "flat": Contender(
        "distmnist, one vector", "distmnist_steps", ("--gradient_buckets=1",)
    ),
    "buckets": Contender(
        "distmnist, 8 buckets", "distmnist_steps", ("--gradient_buckets=8",)
    ),
    "horovod": Contender("Horovod, its own fusion", "plain_horovod"),
    "ddp": Contender("PyTorch DDP over Gloo", "torch_ddp", needs="torch"),
}


TITLES = {name: contender.title for name, contender in CONTENDERS.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures all contenders in all cases.

    Args:
        argv: command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a contender failed.
    """
    options = _parse(argv)
    if missing := lacks():
        print(f"overlap: requires {missing}")
        return 1
    about = environment.describe("")
    cases = [
        Case(*values)
        for values in itertools.product(
            options.kinds, options.ranks, options.gigabits, options.megabytes
        )
    ]
    seconds: dict[Case, dict[str, list[float]]] = {case: {} for case in cases}
    failures = []
    for _, case in itertools.product(range(options.repeats), cases):
        for name, outcome in _measure(case, options.contenders):
            if outcome.failure:
                failures.append(outcome.failure)
            else:
                took = outcome.result["step_seconds"]
                seconds[case].setdefault(name, []).append(took)
                print(f"{case}, {name}: {took * 1000:.1f} ms", flush=True)
    medians = {
        case: {name: statistics.median(times) for name, times in found.items()}
        for case, found in seconds.items()
    }
    print(table(medians))
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{**case._asdict(), "seconds": seconds[case]} for case in cases]
    written = {"environment": about, "cases": rows, "failures": failures}
    (options.out / "results.json").write_text(json.dumps(written, indent=1))
    if predictions := model.predict(medians):
        print(f"\nThe scaling model:\n{model.table(predictions)}")
    plot.draw(medians, TITLES, options.out / "plot.png")
    for failure in failures:
        print(f"\n{failure}")
    print(f"\nWritten to {options.out}")
    return bool(failures)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(name: str, kind: type, default: str) -> None:
        parser.add_argument(
            f"--{name}",
            type=lambda text: [kind(word) for word in text.split(",")],
            default=[kind(word) for word in default.split(",")],
        )

    add("kinds", str, ",".join(backward.KINDS))
    add("ranks", int, "2")
    add("gigabits", float, "1")
    add("megabytes", float, "0.4,24,100")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="*", help="names, with wildcards")
    parser.add_argument("--out", type=Path, default=Path("logs/overlap"))
    options = parser.parse_args(argv)
    chosen = choose(parser, list(CONTENDERS), options.only)
    options.contenders = {}
    for name, contender in CONTENDERS.items():
        if contender.needs and is_missing(contender.needs):
            print(f"{name}: skipped, {contender.needs} is not installed")
        elif name in chosen:
            options.contenders[name] = contender
    return options


def _measure(
    case: Case, contenders: dict[str, Contender]
) -> Iterator[tuple[str, processes.Outcome]]:
    with (
        Hosts(case.ranks, case.gigabits) as hosts,
        tempfile.TemporaryDirectory() as directory,
    ):
        for name, contender in contenders.items():
            package = __package__ or ""
            words = [*contender.arguments]
            if contender.module.startswith("."):
                package = package.rpartition(".")[0]
                words += [f"--bytes={int(case.megabytes * 1e6)}", *_BLOCKS]
            else:
                words += case.arguments
            if contender.module == "distmnist_steps":
                words.append(f"--log_dir={directory}/{name}")
            if contender.module == "torch_ddp":
                words.append(f"--address={hosts.address()}")
            module = f"{package}.{contender.module.strip('.')}"
            launcher = [] if contender.alone else hosts.mpirun(case.ranks)
            command = [*launcher, sys.executable, "-m", module, *words]
            variables = {"GLOO_SOCKET_IFNAME": "eth0"}
            yield name, processes.run(command, _TIMEOUT, variables)


def table(medians: dict[Case, dict[str, float]]) -> str:
    """Returns a Markdown table: step times in ms, and over the shortest possible.

    Args:
        medians: step times in seconds, by case and name of the contender.
    """
    lines = [
        f"| {' | '.join(('backward', 'ranks', 'Gbit/s', 'MB', *CONTENDERS))} |",
        "|---" * (4 + len(CONTENDERS)) + "|",
    ]
    for case, found in medians.items():
        limit = max(found.get("alone", 0), found.get("bare", 0))
        cells = [
            case.kind,
            f"{case.ranks}",
            f"{case.gigabits:g}",
            f"{case.megabytes:g}",
        ]
        for name in CONTENDERS:
            if name not in found:
                cells.append("")
                continue
            ratio = f" ({found[name] / limit:.2f})" if limit else ""
            cells.append(f"{found[name] * 1000:.0f}{ratio}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
