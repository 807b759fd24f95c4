"""Measures what becomes of the accuracy as the global batch grows, at constant epochs.

usage: python -m tests.benchmarks.batches --data=DIR [--seeds=5] [--batches=100,400,...]

Trains the tutorial's network on MNIST with the seeds 0 to k - 1: no scaling of the
learning rate, linear scaling, square root, LARS, LAMB; all but the first with a
warm-up of a tenth of the steps. Prints mean and standard deviation of the test
accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from typing import Any

from tests import launching
from tests.benchmarks import measuring, processes

EPOCHS = 4
WORKER_BATCH = 100
TRAINING_EXAMPLES = 55_000
_MOST_RANKS = 4  # beyond, each accumulates gradients
_SECONDS_PER_SEED = 120  # timeout

# Those of SGD are of the tutorial. Those of LARS and LAMB were chosen by the validation
# accuracy at a batch of 1,600, among powers of two, with the seed 1000.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "no scaling": {"lr_scaling": "none"},
    "linear": {"lr_scaling": "linear"},
    "square root": {"lr_scaling": "sqrt"},
    "LARS": {
        "optimizer": "lars",
        "momentum": 0.9,
        "learning_rate": 4.0,
        "lr_scaling": "sqrt",
        "lr_schedule": "polynomial",
    },
    "LAMB": {
        "optimizer": "lamb",
        "learning_rate": 0.016,
        "lr_scaling": "sqrt",
        "lr_schedule": "polynomial",
    },
}

Accuracies = dict[tuple[str, int], list[float]]  # of a method and a batch, by seed


def main() -> None:
    """Runs all, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="MNIST directory")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--batches", default="100,400,1600,6400")
    parser.add_argument("--child", default=None, help="flags of one run, as JSON")
    options = parser.parse_args()
    if options.child:
        _train(json.loads(options.child), options.seeds)
        return
    batches = list(map(int, options.batches.split(",")))
    found: Accuracies = {}
    for batch in batches:
        for method in METHODS:
            found[method, batch] = _run(options, method, batch)
            print(f"{method}, {batch}: {found[method, batch]}", file=sys.stderr)
    print(table(found))


def flags(method: str, batch: int) -> tuple[int, dict[str, Any]]:
    """Returns the number of ranks of a run, and the fields of its configuration."""
    workers = batch // WORKER_BATCH
    ranks = min(workers, _MOST_RANKS)
    steps = EPOCHS * TRAINING_EXAMPLES // batch
    warmup = {} if method == "no scaling" else {"warmup_steps": steps // 10}
    return ranks, {
        **METHODS[method],
        **warmup,
        "batch_size": WORKER_BATCH,
        "backward_passes_per_step": workers // ranks,
        "max_steps": steps,
    }


def _run(options: argparse.Namespace, method: str, batch: int) -> list[float]:
    """Returns the test accuracy of each seed.

    Raises:
        SystemExit: it failed.
    """
    ranks, fields = flags(method, batch)
    fields = {**fields, "dataset": "mnist", "input_data_dir": options.data}
    command = (
        *(() if ranks == 1 else (*launching.MPIRUN, str(ranks))),
        *(sys.executable, "-m", "tests.benchmarks.batches"),
        *(f"--child={json.dumps(fields)}", f"--seeds={options.seeds}", "--data="),
    )
    outcome = processes.run(command, 60 + _SECONDS_PER_SEED * options.seeds)
    if outcome.failure:
        sys.exit(f"{method}, {batch}: {outcome.failure}")
    accuracies: list[float] = outcome.result["accuracies"]
    return accuracies


def _train(fields: dict[str, Any], seeds: int) -> None:
    """Trains on all ranks of this job, seed after seed; rank 0 reports."""
    import tempfile

    from distmnist import Config, fit
    from distmnist.distributed.connect import connect

    cluster = connect()
    accuracies = []
    with tempfile.TemporaryDirectory() as mine:
        directory = cluster.broadcast(mine)  # that of rank 0
        for seed in range(seeds):
            config = Config(
                **fields,
                seed=seed,
                log_dir=f"{directory}/{seed}",
                log_every=10**6,
                eval_every=0,
                checkpoint_every=0,
                progress=False,
            )
            try:
                accuracies.append(fit(config).metrics["test"]["accuracy"])
            except Exception as error:  # the loss is not finite
                if "the loss is" not in str(error):
                    raise
                accuracies.append(0.1)  # of a guess
    if cluster.rank == 0:
        measuring.report(accuracies=accuracies)


def table(found: Accuracies) -> str:
    """Returns the table as Markdown: a row for each method, a column for each batch."""
    batches = sorted({batch for _, batch in found})
    methods = list(dict.fromkeys(method for method, _ in found))
    lines = [
        f"| global batch | {' | '.join(f'{batch:,}' for batch in batches)} |",
        "|---|" + "---|" * len(batches),
    ]
    for method in methods:
        cells = [
            f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            for values in (found[method, batch] for batch in batches)
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
