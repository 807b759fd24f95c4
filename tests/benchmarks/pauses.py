"""How long training pauses for a checkpoint, and for ranks to agree whether to stop.

usage: python -m tests.benchmarks.pauses [--data=DIR], or under mpirun or horovodrun.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time

from distmnist import train
from distmnist.core.config import Config
from distmnist.distributed import cluster, process
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import measuring
from tests.benchmarks.distmnist_steps import flags

_REPEATS = 30


def main() -> None:
    """Measures, on every rank; rank 0 tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="", help="directory of MNIST")
    options = parser.parse_args()
    connect = cluster.connect

    def connect_and_replace(*args: float) -> Cluster:
        workers = connect(*args)
        process.import_tensorflow()
        from distmnist import trainer

        trainer.train = measure
        return workers

    cluster.connect = connect_and_replace
    # The same on all ranks; what an earlier run has left there is moved away.
    directory = os.path.join(tempfile.gettempdir(), "distmnist-pauses")
    sys.argv[1:] = [*flags(options.data), f"--log_dir={directory}", "--restart"]
    train.main()


def measure(config: Config, workers: Cluster, *_: object) -> None:
    """Measures, in the place of `distmnist.trainer.train`."""
    from distmnist.checkpoint.manager import Saver
    from distmnist.data import loading
    from distmnist.trainer import Trainer

    dataset = loading.load(config, workers)
    trainer = Trainer(config, workers, dataset)
    paused, written, voted, steps = [], [], [], []
    with Saver(config, workers, dataset, trainer.variables) as saver:
        saver.restore()
        trainer.progress = trainer.train_to(10)
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            trainer.progress = trainer.train_to(trainer.progress.step + 100)
            steps.append((time.perf_counter() - begin) / 100)
            voted.append(measuring.seconds(lambda: workers.maxima([0.0, 0.0, 0.0])))
            begin = time.perf_counter()
            saver.save(trainer.progress)
            paused.append(time.perf_counter() - begin)
            saver.wait()
            written.append(time.perf_counter() - begin)
    if workers.rank == 0:
        for name, seconds in (
            ("a step", steps),
            ("a vote", voted),
            ("pause for a checkpoint", paused),
            ("until it is written", written),
        ):
            print(f"{name}: {statistics.median(seconds) * 1000:.3f} ms")


if __name__ == "__main__":
    main()
