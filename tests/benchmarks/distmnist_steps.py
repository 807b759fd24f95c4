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
    from distmnist.trainer import Trainer

_EVALUATIONS = 7


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    sys.argv[1:] = [*flags(options.data), "--lr_scaling=none"]
    work = functools.partial(measure, options)
    cli.run(Config, __doc__, work, cli.prepare_tensorflow)


def flags(directory: str) -> list[str]:
    """Returns the flags of distmnist.train for the task of all contenders.

    Args:
        directory: MNIST directory; "" for random images.
    """
    return [
        f"--batch_size={measuring.BATCH_SIZE}",
        f"--learning_rate={measuring.LEARNING_RATE}",
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

    def run_steps(trainer: Trainer, steps: int) -> None:
        trainer.progress = trainer.train_block(trainer.pipeline.take(steps))

    steps = measuring.timed(lambda count: run_steps(trainer, count), options)
    steps["memory_mb"] = max(cluster.allgather(steps["memory_mb"]))

    # The same loop on the same shards without communication. The difference is the
    # share of the allreduce, including waiting and negotiation.
    alone = Cluster()
    alone.rank, alone.size = cluster.rank, cluster.size
    silent = Trainer(config, alone, dataset)

    def block(trainer: Trainer) -> float:
        """Returns the duration of a block on the slowest rank, in seconds."""
        cluster.allgather(None)  # start together
        took = measuring.seconds(lambda: run_steps(trainer, options.block_steps))
        return max(cluster.allgather(took))

    block(silent)
    pairs = [(block(trainer), block(silent)) for _ in range(options.blocks)]
    both, compute = (statistics.median(times) for times in zip(*pairs))
    share = 1 - compute / both if cluster.size > 1 else 0.0

    evaluator = Evaluator(trainer._splits, trainer.network, cluster, dataset.spec)
    evaluator.evaluate()
    evaluations = []
    for _ in range(_EVALUATIONS):
        cluster.allgather(None)
        evaluations.append(measuring.seconds(evaluator.evaluate))

    if cluster.rank == 0:
        measuring.report(
            **steps,
            allreduce_share=share,
            evaluation_seconds=statistics.median(evaluations),
        )
    cluster.allgather(None)  # end together


if __name__ == "__main__":
    main()
