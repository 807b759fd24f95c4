"""Benchmarks distmnist, its peers and the hardware limits, and checks the criteria.

python -m tests.benchmarks.run [--model=NAME] [--repeats=N] [--out=DIR] [--only=NAMES]
                               [--data=DIR]

The runs of all contenders are interleaved, N times, so that other load on the machine
affects all of them. Prints tables, and writes results.json and plot.png.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import data, environment, plot, processes, summary, tables
from tests.benchmarks.contenders import CONTENDERS, JOB_STEPS, Contender, choose
from tests.benchmarks.measuring import TASKS

Results = dict[str, list[dict[str, Any]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        argv: Command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a contender failed.
    """
    options = parse(argv)
    about = environment.describe(options.data)
    print(
        f"{about['cpu']}, {about['cores']} cores, load {about['load_before']}; "
        f"commit {about['commit']}; {options.model}, {about['data']}"
    )
    results, failures = measure(options)
    measured = summary.summarize(results)
    criteria = summary.criteria(tables.take_medians(measured), options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options, about, results, measured, criteria, failures)
    show(measured, criteria)
    for name, texts in failures.items():
        print(f"\n{name} failed {len(texts)} times; last failure:\n{texts[-1]}")
    plot.draw(measured, options.out / "plot.png")
    print(f"\nWritten to {options.out}")
    return bool(failures)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line.

    Returns:
        The options; `contenders` are those of --model that are selected by --only.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", choices=tuple(TASKS), default="mlp", help="network; default: mlp"
    )
    parser.add_argument("--repeats", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("logs/benchmark"),
        help="output directory; default: logs/benchmark",
    )
    parser.add_argument(
        "--only",
        default="*",
        help="comma-separated names of contenders, with wildcards * and ?",
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("DISTMNIST_TEST_MNIST", "data/mnist"),
        help="MNIST directory; if missing, random images of the same shape",
    )
    parser.add_argument("--blocks", type=int, default=20, help="timed blocks")
    parser.add_argument(
        "--block_steps",
        type=int,
        help="steps in each; default: "
        + ", ".join(f"{task.block_steps} ({name})" for name, task in TASKS.items()),
    )
    parser.add_argument("--job_steps", type=int, default=JOB_STEPS)
    parser.add_argument("--timeout", type=float, default=180, help="seconds per run")
    options = parser.parse_args(argv)
    options.data = str(Path(options.data).resolve()) * data.is_mnist(options.data)
    options.block_steps = options.block_steps or TASKS[options.model].block_steps
    contenders = [each for each in CONTENDERS if options.model in each.models]
    chosen = choose(parser, [each.name for each in contenders], options.only)
    options.contenders = [each for each in contenders if each.name in chosen]
    return options


def measure(options: argparse.Namespace) -> tuple[Results, dict[str, list[str]]]:
    """Measures all contenders, in interleaved runs.

    Args:
        options: Command line.

    Returns:
        Results and failures, by name of the contender.
    """
    results: Results = {}
    failures: dict[str, list[str]] = {}
    contenders = []
    for contender in options.contenders:
        if contender.lacks():
            print(f"{contender.name}: skipped, {contender.lacks()} is not installed")
        else:
            contenders.append(contender)
    for repeat in range(options.repeats):
        for contender in contenders:
            outcome = run(contender, options)
            if outcome.failure:
                failures.setdefault(contender.name, []).append(outcome.failure)
            else:
                found = {**outcome.result, "wall_seconds": outcome.wall_seconds}
                results.setdefault(contender.name, []).append(found)
            print(
                f"{repeat + 1}/{options.repeats} {contender.name}: "
                f"{'FAILED after ' if outcome.failure else ''}"
                f"{outcome.wall_seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    return results, failures


def run(contender: Contender, options: argparse.Namespace) -> processes.Outcome:
    """Runs one contender once."""
    if contender.kind != "job":
        arguments = [
            f"--model={options.model}",
            f"--data={options.data}",
            f"--blocks={options.blocks}",
            f"--block_steps={options.block_steps}",
        ]
        command = contender.command(arguments)
        return processes.run(command, options.timeout, contender.environment)
    with tempfile.TemporaryDirectory() as log_dir:
        command = contender.job_command(options.data, log_dir, options.job_steps)
        outcome = processes.run(command, options.timeout, reports=False)
        return outcome._replace(result=own_metrics(Path(log_dir)))


def own_metrics(log_dir: Path) -> dict[str, float]:
    """Returns the throughput that distmnist.train logs to metrics.jsonl."""
    path = log_dir / "metrics.jsonl"
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rates = [line["examples_per_sec"] for line in lines if line["kind"] == "train"]
    return {"own_examples_per_second": statistics.median(rates)} if rates else {}


def write_json(
    options: argparse.Namespace,
    about: dict[str, Any],
    results: Results,
    measured: tables.Summary,
    criteria: Sequence[summary.Criterion],
    failures: dict[str, list[str]],
) -> None:
    """Writes results.json."""
    content = {
        "environment": about,
        "model": options.model,
        "repeats": options.repeats,
        "blocks": options.blocks,
        "block_steps": options.block_steps,
        "job_steps": options.job_steps,
        "criteria": [{**each._asdict(), "verdict": each.verdict} for each in criteria],
        "summary": {
            name: {key: value._asdict() for key, value in values.items()}
            for name, values in measured.items()
        },
        "results": results,
        "failures": failures,
    }
    path = options.out / "results.json"
    path.write_text(json.dumps(content, indent=1) + "\n")


def show(measured: tables.Summary, criteria: Sequence[summary.Criterion]) -> None:
    """Prints all tables that are not empty."""
    for text in (
        tables.steps_table(measured),
        tables.limits_table(measured),
        tables.evaluation_table(measured),
        tables.jobs_table(measured),
        tables.criteria_table(criteria),
    ):
        if text.count("\n") > 1:
            print(f"\n{text}")


if __name__ == "__main__":
    sys.exit(main())
