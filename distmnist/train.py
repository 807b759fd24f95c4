"""Trains: the program that users, launchers and clusters run.

python -m distmnist.train [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from logging import WARNING
from typing import TYPE_CHECKING

from absl import flags, logging

from distmnist import cluster, config, runtime
from distmnist.errors import UserError
from distmnist.stopping import Signals

if TYPE_CHECKING:
    from distmnist.elastic import Commits


def main() -> None:
    """Parses the flags, joins the other ranks, trains, and exits."""
    signals = Signals()
    settings, wrong = _parse_flags()
    signals.grace_seconds = settings.grace_seconds
    if config.verbosity() > logging.INFO:
        runtime.show_chatter()
    try:
        workers = cluster.connect(settings.stall_seconds)
    except UserError as error:
        cluster.Cluster().fail(error)
    try:
        _set_up_logging(workers.rank, config.verbosity())
        if wrong:
            # Whether all ranks have it or one, all are told together.
            workers.together(lambda: _raise(wrong))
        _prepare_tensorflow(settings, workers)
        if settings.elastic or workers.is_elastic:
            from distmnist import elastic

            commits = elastic.Commits()
            workers.elastic(lambda: _train(settings, workers, signals, commits))
        else:
            _train(settings, workers, signals)
    except UserError as error:
        workers.fail(error)
    except Exception as error:
        if explained := workers.explain(error):
            workers.fail(explained)
        # A bug on one rank must not leave the others waiting for it.
        traceback.print_exc()
        workers.abort(1)


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


def _raise(error: UserError) -> None:
    raise error


def _prepare_tensorflow(settings: config.Config, workers: cluster.Cluster) -> None:
    """Imports TensorFlow, and chooses its devices before anything uses them."""
    # Imported only now, because it takes seconds to load, and a wrong flag is told at
    # once.
    runtime.import_tensorflow()
    from distmnist import model

    runtime.configure_tensorflow(
        workers.local_rank,
        workers.local_size,
        workers.size,
        model.step_flops(settings.hidden1, settings.hidden2, settings.batch_size),
    )


def _set_up_logging(rank: int, verbosity: int) -> None:
    """Lets rank 0 tell what it does, and the others nothing but errors.

    Args:
        rank: of this process.
        verbosity: of absl; where it is above INFO, all tell all.
    """
    logging.use_absl_handler()
    all_of_it = verbosity > logging.INFO
    logging.set_verbosity(verbosity if rank == 0 or all_of_it else logging.ERROR)
    # Of the libraries that log here too, only warnings are of interest.
    logging.get_absl_handler().addFilter(
        lambda record: (
            all_of_it or record.levelno >= WARNING or __package__ in record.pathname
        )
    )


if __name__ == "__main__":
    main()
