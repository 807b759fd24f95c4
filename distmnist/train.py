"""Trains a network.

Usage: python -m distmnist.train [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from absl import logging

from distmnist import cli
from distmnist.core.config import Config
from distmnist.data import loading
from distmnist.distributed import devices, launchers
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.signals import ProgramSignals
from distmnist.distributed.watchdog import watchdog

if TYPE_CHECKING:
    from distmnist.distributed.elastic import Commits


def main() -> None:
    """Parses the flags, joins the other ranks, trains, and exits."""
    work = functools.partial(_train, ProgramSignals())
    cli.run(Config, __doc__, work, cli.prepare_tensorflow)


def _train(signals: ProgramSignals, config: Config, cluster: Cluster) -> None:
    signals.grace_seconds = config.grace_seconds
    logging.info("Runtime settings: %s", devices.settings())
    if exposed := launchers.exposed_secrets(os.environ):
        logging.warning(
            "Every user of this machine can read %s: horovodrun --gloo shows the "
            "environment in the list of processes; unset them, or start with mpirun",
            ", ".join(exposed),
        )
    if not (config.elastic or cluster.is_elastic):
        _train_once(signals, config, cluster)
        return
    from distmnist.distributed import elastic

    commits = elastic.Commits()

    def job() -> None:
        # Fails if a rank could not be prepared: see cli.run.
        cluster.run_collectively(lambda: None)
        _train_once(signals, config, cluster, commits)

    cluster.run_elastic(job)


def _train_once(
    signals: ProgramSignals,
    config: Config,
    cluster: Cluster,
    commits: Commits | None = None,
) -> None:
    """Trains, once all ranks are known to have the same software and flags."""
    cli.assert_consistent(config, cluster)
    from distmnist.trainer import Trainer

    with watchdog.phase("loading the data set"):
        dataset = loading.load(config, cluster)
    Trainer(config, cluster, dataset).run(signals, commits)


if __name__ == "__main__":
    main()
