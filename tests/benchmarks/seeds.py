"""Measures the accuracy over many seeds, beside the tutorial's own loop.

usage: python -m tests.benchmarks.seeds --data=DIR [--seeds=20] [--sizes=1,2,4]

Trains with the seeds 0 to k - 1 on each number of ranks, and as often with the
tutorial's loop (a TensorFlow 1 graph and feed_dict). Prints the mean and the standard
deviation of the test accuracy after 100,000 and 200,000 examples, and whether the
difference to the tutorial is within noise (Welch's t-test, p > 0.05).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tests import launching
from tests.benchmarks import data, measuring, processes
from tests.benchmarks.distmnist_steps import flags

EXAMPLES = (100_000, 200_000)  # 1000 and 2000 steps of one worker
_SECONDS_PER_SEED = 60  # timeout
_SIGNIFICANT = 0.05

Accuracies = list[list[float]]  # by seed, at each of EXAMPLES


class Row(NamedTuple):
    """Accuracies of one contender.

    Attributes:
        name: contender, with its number of ranks.
        accuracies: test accuracy of each seed at each of EXAMPLES.
    """

    name: str
    accuracies: Accuracies


def main() -> None:
    """Runs the contenders, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="MNIST directory")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--sizes", default="1,2,4", help="numbers of ranks")
    parser.add_argument("--child", choices=("distmnist", "tutorial"), default=None)
    options = parser.parse_args()
    if options.child == "tutorial":
        measuring.report(accuracies=_tutorial(options.data, options.seeds))
    elif options.child:
        _train_distmnist(options.data, options.seeds)
    else:
        rows = [_run(options, "tutorial", 1)]
        for size in map(int, options.sizes.split(",")):
            rows.append(_run(options, "distmnist", size))
        print(table(rows))


def _run(options: argparse.Namespace, child: str, size: int) -> Row:
    """Runs one contender in processes of its own.

    Raises:
        SystemExit: it failed.
    """
    launcher = () if size == 1 else (*launching.MPIRUN, str(size))
    command = (
        *launcher,
        *(sys.executable, "-m", "tests.benchmarks.seeds", f"--child={child}"),
        *(f"--data={options.data}", f"--seeds={options.seeds}"),
    )
    outcome = processes.run(command, _SECONDS_PER_SEED * options.seeds)
    if outcome.failure:
        sys.exit(f"{child} on {size} ranks: {outcome.failure}")
    ranks = f"{size} {'rank' if size == 1 else 'ranks'}"
    name = "the tutorial's loop" if child == "tutorial" else f"distmnist, {ranks}"
    return Row(name, outcome.result["accuracies"])


def table(rows: Sequence[Row]) -> str:
    """Returns the table as Markdown.

    Args:
        rows: the first is the one that the others are compared with.
    """
    from scipy import stats

    reference = rows[0].accuracies
    lines = [
        f"Test accuracy over {len(reference)} seeds, mean ± standard deviation:",
        "",
        "| | " + " | ".join(f"{n:,} examples" for n in EXAMPLES) + " |",
        "|---|" + "---|" * len(EXAMPLES),
    ]
    for row in rows:
        cells = []
        for mine, theirs in zip(zip(*row.accuracies), zip(*reference)):
            cell = f"{statistics.mean(mine):.4f} ± {statistics.stdev(mine):.4f}"
            if row is not rows[0]:
                p = stats.ttest_ind(mine, theirs, equal_var=False).pvalue
                verdict = "within noise" if p > _SIGNIFICANT else "differs"
                cell += f" ({verdict}, p = {p:.2f})"
            cells.append(cell)
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _tutorial(directory: str, seeds: int) -> Accuracies:
    """Trains with the tutorial's loop, seed after seed."""
    import numpy as np
    import tensorflow.compat.v1 as tf

    from tests.benchmarks.peers import tutorial

    splits = data.load(directory)
    accuracies = []
    for seed in range(seeds):
        np.random.seed(seed)
        train, _, test = map(tutorial.DataSet, splits)
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(seed)
            network = tutorial.build()
            session.run(tf.global_variables_initializer())
            row, step = [], 0
            for examples in EXAMPLES:
                for _ in range(examples // measuring.BATCH_SIZE - step):
                    feed = network.feed(train)
                    session.run([network.train_op, network.loss], feed_dict=feed)
                step = examples // measuring.BATCH_SIZE
                batches = test.num_examples // measuring.BATCH_SIZE
                correct = sum(
                    session.run(network.eval_correct, feed_dict=network.feed(test))
                    for _ in range(batches)
                )
                row.append(int(correct) / test.num_examples)
        accuracies.append(row)
    return accuracies


def _train_distmnist(directory: str, seeds: int) -> None:
    """Trains on all ranks of this job, seed after seed; rank 0 reports."""
    from distmnist import cli
    from distmnist.core.config import Config
    from distmnist.distributed.cluster import Cluster

    def work(config: Config, cluster: Cluster) -> None:
        import dataclasses

        from distmnist.data import loading
        from distmnist.metrics.evaluator import Evaluator
        from distmnist.trainer import Trainer

        dataset = loading.load(config, cluster)
        accuracies = []
        for seed in range(seeds):
            seeded = dataclasses.replace(config, seed=seed)
            trainer = Trainer(seeded, cluster, dataset)
            evaluator = Evaluator(
                trainer._splits, trainer.network, cluster, dataset.spec
            )
            row, step = [], 0
            for examples in EXAMPLES:
                last = examples // (config.batch_size * cluster.size)
                trainer.progress = trainer.train_block(
                    trainer.pipeline.take(last - step)
                )
                step = last
                row.append(evaluator.evaluate()["test"].metrics["accuracy"])
            accuracies.append(row)
        if cluster.rank == 0:
            measuring.report(accuracies=accuracies)

    sys.argv[1:] = flags(directory)
    cli.run(Config, __doc__, work, cli.prepare_tensorflow)


if __name__ == "__main__":
    main()
