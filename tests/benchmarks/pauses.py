"""Measures how long training pauses for a checkpoint and for a vote on stopping.

usage: python -m tests.benchmarks.pauses [--data=DIR], or under mpirun or horovodrun.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time

from distmnist import cli
from distmnist.core.config import Config
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import measuring
from tests.benchmarks.distmnist_steps import flags

_REPEATS = 30


def main() -> None:
    """Measures, on every rank; rank 0 prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="", help="MNIST directory")
    options = parser.parse_args()
    # The same on all ranks; --restart archives an earlier run.
    directory = os.path.join(tempfile.gettempdir(), "distmnist-pauses")
    sys.argv[1:] = [*flags(options.data), f"--log_dir={directory}", "--restart"]
    cli.run(Config, __doc__, measure, cli.prepare_tensorflow)


def measure(config: Config, cluster: Cluster) -> None:
    """Measures, and prints the medians on rank 0."""
    from distmnist.checkpoint.manager import CheckpointManager
    from distmnist.data import loading
    from distmnist.trainer import Trainer

    dataset = loading.load(config, cluster)
    trainer = Trainer(config, cluster, dataset)
    paused, written, voted, steps = [], [], [], []
    with CheckpointManager(config, cluster, dataset, trainer.variables) as manager:
        manager.restore()
        trainer.progress = trainer.train_block(trainer.pipeline.take(10))
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            trainer.progress = trainer.train_block(trainer.pipeline.take(100))
            steps.append((time.perf_counter() - begin) / 100)
            voted.append(
                measuring.seconds(lambda: cluster.allreduce_max([0.0, 0.0, 0.0]))
            )
            begin = time.perf_counter()
            manager.save(trainer.progress)
            paused.append(time.perf_counter() - begin)
            manager.wait()
            written.append(time.perf_counter() - begin)
    if cluster.rank == 0:
        for name, seconds in (
            ("step", steps),
            ("vote", voted),
            ("pause for a checkpoint", paused),
            ("checkpoint durable after", written),
        ):
            print(f"{name}: {statistics.median(seconds) * 1000:.3f} ms")


if __name__ == "__main__":
    main()
