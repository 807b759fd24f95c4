"""distmnist itself: its steps, the share of the allreduce in them, its evaluation.

The program, distmnist.train, sets everything up; only what it calls to train is
replaced, by what calls the trainer as the training loop does, and measures.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from typing import TYPE_CHECKING

from distmnist import train
from distmnist.core.config import Config
from distmnist.distributed import cluster, process
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import data, measuring

if TYPE_CHECKING:
    from distmnist.trainer import Trainer

_EVALUATIONS = 7


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    connect = cluster.connect

    def connect_and_replace(*args: float) -> Cluster:
        workers = connect(*args)
        process.import_tensorflow()  # not sooner: MPI comes first
        from distmnist import trainer

        trainer.train = functools.partial(measure, options)
        return workers

    cluster.connect = connect_and_replace
    sys.argv[1:] = [*flags(options.data), "--lr_scaling=none"]
    train.main()


def flags(directory: str) -> list[str]:
    """Returns the flags of distmnist.train that make it do what the others do.

    Args:
        directory: of MNIST, or "" for random images.
    """
    return [
        f"--batch_size={measuring.BATCH_SIZE}",
        f"--learning_rate={measuring.LEARNING_RATE}",
        f"--dataset={'mnist' if directory else 'fake'}",
        f"--input_data_dir={directory or 'none'}",
        f"--fake_sizes={','.join(map(str, data.SIZES))}",
    ]


def measure(
    options: argparse.Namespace, config: Config, workers: Cluster, *_: object
) -> None:
    """Measures, in the place of `distmnist.trainer.train`."""
    from distmnist.data import loading
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.metrics.types import Writer
    from distmnist.trainer import Trainer

    dataset = loading.load(config, workers)
    trainer = Trainer(config, workers, dataset)

    def run_steps(trainer: Trainer, steps: int) -> None:
        trainer.progress = trainer.train_to(trainer.progress.step + steps)

    steps = measuring.timed(lambda count: run_steps(trainer, count), options)
    steps["memory_mb"] = max(workers.allgather(steps["memory_mb"]))

    # The same loop on the same slices, but nobody talks: what it saves is the
    # share of the allreduce, waiting and negotiation included.
    alone = Cluster()
    alone.rank, alone.size = workers.rank, workers.size
    silent = Trainer(config, alone, dataset)

    def block(trainer: Trainer) -> float:
        """Returns how long a block takes on the slowest rank."""
        workers.allgather(None)  # begin together
        took = measuring.seconds(lambda: run_steps(trainer, options.block_steps))
        return max(workers.allgather(took))

    block(silent)
    pairs = [(block(trainer), block(silent)) for _ in range(options.blocks)]
    both, compute = (statistics.median(times) for times in zip(*pairs))
    share = 1 - compute / both if workers.size > 1 else 0.0

    evaluator = Evaluator(trainer._splits, trainer.network, workers, Writer())
    evaluator.evaluate()
    evaluations = []
    for _ in range(_EVALUATIONS):
        workers.allgather(None)
        evaluations.append(measuring.seconds(evaluator.evaluate))

    if workers.rank == 0:
        measuring.report(
            **steps,
            allreduce_share=share,
            evaluation_seconds=statistics.median(evaluations),
        )
    workers.allgather(None)  # end together


if __name__ == "__main__":
    main()
