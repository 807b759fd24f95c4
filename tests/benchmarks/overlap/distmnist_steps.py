"""distmnist's steps on `network.Layers`; the flags are followed by distmnist's own."""

from __future__ import annotations

import argparse
import functools
import sys

from distmnist import cli
from distmnist.core.config import Config
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import measuring
from tests.benchmarks.overlap import backward


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    parser = measuring.parser(__doc__)
    backward.add_arguments(parser)
    options, own = parser.parse_known_args()
    hparams = f"kind={options.kind},layer_ms={options.layer_ms}"
    sys.argv[1:] = [
        "--model=tests.benchmarks.overlap.network:Layers",
        f"--hparams={hparams},megabytes={options.megabytes}",
        *("--dataset=fake", "--fake_sizes=1000,10,10", "--batch_size=1"),
        *own,
    ]
    work = functools.partial(measure, options)
    cli.run(Config, __doc__, work, cli.prepare_tensorflow)


def measure(options: argparse.Namespace, config: Config, cluster: Cluster) -> None:
    """Measures, and prints the results on rank 0."""
    from distmnist.data import loading
    from distmnist.trainer import Trainer

    trainer = Trainer(config, cluster, loading.load(config, cluster))

    def run_steps(steps: int) -> None:
        trainer.progress = trainer.train_block(trainer.pipeline.take(steps))

    steps = measuring.timed(run_steps, options)
    if cluster.rank == 0:
        measuring.report(**steps)
    cluster.allgather(None)  # end together


if __name__ == "__main__":
    main()
