"""Trains: the program that users, launchers and clusters run.

python -m distmnist.train [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from absl import flags, logging

from distmnist import cli
from distmnist.core import config
from distmnist.core.errors import UserError
from distmnist.distributed import cluster, process
from distmnist.distributed.preemption import Signals

if TYPE_CHECKING:
    from distmnist.distributed.elastic import Commits


def main() -> None:
    """Parses the flags, joins the other ranks, trains, and exits."""
    signals = Signals()
    settings, wrong = _parse_flags()
    signals.grace_seconds = settings.grace_seconds
    if config.verbosity() > logging.INFO:
        process.show_chatter()
    with cli.joined(settings.stall_seconds) as workers:
        cli.set_up_logging(workers.rank, config.verbosity())
        if wrong:
            # Whether all ranks have it or one, all are told together.
            workers.together(lambda: cli.raise_if(wrong))
        cli.prepare_tensorflow(settings, workers)
        logging.info("Chosen: %s", process.settings())
        if settings.elastic or workers.is_elastic:
            from distmnist.distributed import elastic

            commits = elastic.Commits()
            workers.elastic(lambda: _train(settings, workers, signals, commits))
        else:
            _train(settings, workers, signals)


def _parse_flags() -> tuple[config.Config, UserError | None]:
    """Returns the flags, or else the defaults and what is wrong with the flags."""
    config.define_flags()
    flags.adopt_module_key_flags(config)  # --help shows them
    try:
        return config.parse(sys.argv), None
    except UserError as error:
        return config.Config(), error


def _train(
    settings: config.Config,
    workers: cluster.Cluster,
    signals: Signals,
    commits: Commits | None = None,
) -> None:
    """Trains, once all ranks have the same flags."""
    workers.together(lambda: None)  # fails if a rank could not parse its own
    workers.agree(
        {f"flag --{k}": v for k, v in dataclasses.asdict(settings).items()},
        "start all ranks with the same flags",
    )
    from distmnist import trainer

    trainer.train(settings, workers, signals, commits)


if __name__ == "__main__":
    main()
