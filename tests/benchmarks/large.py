"""Memory and pauses of a large network, on several ranks.

python -m tests.benchmarks.large [--parameters=100] [--ranks=2] [--momentum=0]

Trains layers of 16 million parameters each, as many as --parameters takes, in millions,
and saves checkpoints. Prints the peak of each rank's memory beyond that of a network of
few parameters, compared with what parameters, gradients and the optimizer's slots take;
and how long the steps after a checkpoint take, the pause for it included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from distmnist import Config, Dataset, DatasetSpec, Network, cli, create_dataset
from distmnist.distributed.cluster import Cluster
from tests.benchmarks import measuring, processes
from tests.launching import MPIRUN

_WIDTH = 4096
_EVERY = 8  # steps between checkpoints
_STEPS = 3 * _EVERY + 1
_TIMEOUT = 600.0  # seconds


class Layers(Network):
    """Layers of one width, without biases; as many as the hyperparameter says."""

    def __init__(self, config: Config, spec: DatasetSpec):
        """Creates the layers."""
        import tensorflow as tf

        super().__init__(config, spec)
        random = np.random.default_rng(0)

        def matrix(outputs: int, name: str) -> tf.Variable:
            values = random.standard_normal((_WIDTH, outputs), np.float32)
            return tf.Variable(values * np.float32((2 / _WIDTH) ** 0.5), name=name)

        layers = int(config.hparams["layers"])
        self.hidden = [matrix(_WIDTH, f"hidden{n}") for n in range(layers)]
        self.last = matrix(2, "last")

    def __call__(self, features, position=None):  # type: ignore[no-untyped-def]
        """Applies the layers."""
        import tensorflow as tf

        for weights in self.hidden:
            features = tf.nn.relu(features @ weights)
        return features @ self.last


def points() -> Dataset:
    """Random vectors of two classes."""
    features = np.random.default_rng(0).standard_normal((500, _WIDTH), np.float32)
    return create_dataset((features, (features[:, 0] > 0).astype(np.int64)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures a large network and one of few parameters, and prints the comparison.

    Args:
        argv: command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a measurement failed.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=float, default=100.0, help="in millions")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--log_dir", default="", help="of a measured process")
    parser.add_argument("--layers", type=int, help="of a measured process")
    options = parser.parse_args(argv)
    if options.log_dir:
        worker(options)
        return 0
    layers = round(options.parameters * 1e6 / _WIDTH**2)
    found = []
    for count in (layers, 0):
        with tempfile.TemporaryDirectory() as directory:
            outcome = processes.run(_command(options, count, directory), _TIMEOUT)
        if outcome.failure:
            print(outcome.failure)
            return 1
        found.append(outcome.result)
    large, small = found
    megabytes = 4e-6 * layers * _WIDTH**2
    needed = megabytes * (3 if options.momentum else 2)
    for rank, (peak, before) in enumerate(zip(large["peaks"], small["peaks"])):
        beyond = peak - before
        print(
            f"rank {rank}: {peak:,.0f} MB at the peak, {beyond:,.0f} beyond a small "
            f"network's: {beyond / needed:.2f} of {needed:,.0f} MB needed"
        )
    median = large["step_seconds"]
    longest = max(large["after_checkpoints"])
    print(
        f"step: {median:.2f} s; after a checkpoint: {longest:.2f} s at most, which is "
        f"{longest / median:.2f} steps ({(longest - median) / median:.2f} of pause)"
    )
    return 0


def _command(options: argparse.Namespace, layers: int, log_dir: str) -> list[str]:
    words = [sys.executable, "-m", "tests.benchmarks.large", f"--log_dir={log_dir}/run"]
    words += [f"--layers={layers}", f"--momentum={options.momentum}"]
    return [*MPIRUN, str(options.ranks), *words]


def worker(options: argparse.Namespace) -> None:
    """Trains, on every rank; rank 0 reports."""
    sys.argv[1:] = [
        "--dataset=tests.benchmarks.large:points",
        "--model=tests.benchmarks.large:Layers",
        f"--hparams=layers={options.layers}",
        f"--momentum={options.momentum}",
        f"--log_dir={options.log_dir}",
        f"--max_steps={_STEPS}",
        f"--checkpoint_every={_EVERY}",
        *("--eval_every=0", "--batch_size=32", "--learning_rate=0.001"),
        *("--steps_per_call=1", "--lr_scaling=none"),
    ]
    cli.run(Config, __doc__, train, cli.prepare_tensorflow)


def train(config: Config, cluster: Cluster) -> None:
    """Trains, and reports on rank 0."""
    from distmnist.core.progress import Progress
    from distmnist.data import loading
    from distmnist.data.pipeline import Block
    from distmnist.trainer import Trainer

    ends: list[float] = []

    class Timed(Trainer):
        def train_block(self, block: Block) -> Progress:
            progress = super().train_block(block)
            ends.append(time.perf_counter())
            return progress

    Timed(config, cluster, loading.load(config, cluster)).run()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peaks = cluster.allgather(kilobytes * 1024 / 1e6)
    if cluster.rank == 0:
        took = np.diff(ends).tolist()
        measuring.report(
            step_seconds=statistics.median(took),
            # From the end of the step before the checkpoint, whose pause is in it.
            after_checkpoints=took[_EVERY - 1 :: _EVERY],
            peaks=peaks,
        )


if __name__ == "__main__":
    sys.exit(main())
