"""distmnist: step time, allreduce share and evaluation time.

Starts as distmnist.train does, and takes and measures the same steps.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from typing import TYPE_CHECKING

from distmnist import cli
from distmnist.core.config import Config
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import data, measuring

if TYPE_CHECKING:
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.trainer import Trainer

_EVALUATIONS = 7


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    sys.argv[1:] = [*flags(options.data, options.model), "--lr_scaling=none"]
    work = functools.partial(measure, options)
    cli.run(Config, __doc__, work, cli.prepare_tensorflow)


def flags(directory: str, model: str = "mlp") -> list[str]:
    """Returns the flags of distmnist.train for the task of all contenders.

    Args:
        directory: MNIST directory; "" for random images.
        model: Name of the network.
    """
    task = measuring.TASKS[model]
    return [
        f"--model={model}",
        f"--momentum={task.momentum}",
        f"--batch_size={measuring.BATCH_SIZE}",
        f"--learning_rate={task.learning_rate}",
        f"--dataset={'mnist' if directory else 'fake'}",
        f"--input_data_dir={directory or 'none'}",
        f"--fake_sizes={','.join(map(str, data.SIZES))}",
    ]


def measure(options: argparse.Namespace, config: Config, cluster: Cluster) -> None:
    """Measures, and prints the results on rank 0.

    Args:
        options: options of the benchmark.
        config: run configuration.
        cluster: the ranks.
    """
    from distmnist.data import loading
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.trainer import Trainer

    dataset = loading.load(config, cluster)
    trainer = Trainer(config, cluster, dataset)
    steps = measuring.timed(lambda count: run_steps(trainer, count), options)
    steps["memory_mb"] = max(cluster.allgather(steps["memory_mb"]))
    if cluster.size > 1:
        # The same loop on the same shards without communication.
        alone = Cluster()
        alone.rank, alone.size = cluster.rank, cluster.size
        silent = Trainer(config, alone, dataset)
        steps["allreduce_share"] = allreduce_share(options, cluster, trainer, silent)
    if options.model == "mlp":  # a minute and a half for the cnn
        evaluator = Evaluator(trainer._splits, trainer.network, cluster, dataset.spec)
        steps["evaluation_seconds"] = evaluation_seconds(cluster, evaluator)
    if cluster.rank == 0:
        measuring.report(**steps)
    cluster.allgather(None)  # end together


def run_steps(trainer: Trainer, steps: int) -> None:
    """Takes the next steps."""
    trainer.progress = trainer.train_block(trainer.pipeline.take(steps))


def allreduce_share(
    options: argparse.Namespace, cluster: Cluster, trainer: Trainer, silent: Trainer
) -> float:
    """Returns the share of the allreduce in a step, with waiting and negotiation.

    Args:
        options: options of the benchmark.
        cluster: the ranks.
        trainer: takes the steps.
        silent: takes them without communication.
    """

    def block(trainer: Trainer) -> float:
        """Returns the duration of a block on the slowest rank, in seconds."""
        cluster.allgather(None)  # start together
        took = measuring.seconds(lambda: run_steps(trainer, options.block_steps))
        return max(cluster.allgather(took))

    block(silent)
    pairs = [(block(trainer), block(silent)) for _ in range(options.blocks)]
    both, compute = (statistics.median(times) for times in zip(*pairs))
    return 1 - compute / both


def evaluation_seconds(cluster: Cluster, evaluator: Evaluator) -> float:
    """Returns the duration of an evaluation of all splits, in seconds."""
    evaluator.evaluate()
    times = []
    for _ in range(_EVALUATIONS):
        cluster.allgather(None)  # start together
        times.append(measuring.seconds(evaluator.evaluate))
    return statistics.median(times)


if __name__ == "__main__":
    main()
