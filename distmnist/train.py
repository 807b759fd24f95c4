"""Trains: the program that users, launchers and clusters run.

python -m distmnist.train [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from logging import WARNING

from absl import flags, logging

from distmnist import cluster, config, runtime
from distmnist.errors import UserError


def main() -> None:
    """Parses the flags, joins the other ranks, trains, and exits."""
    try:
        workers = cluster.connect()
    except UserError as error:
        cluster.Cluster().fail(error)
    try:
        _set_up_logging(workers.rank)
        settings = workers.together(_parse_flags)
        workers.agree(
            {f"flag --{k}": v for k, v in dataclasses.asdict(settings).items()},
            "start all ranks with the same flags",
        )
        # Imported only now, because TensorFlow takes seconds to load, and a wrong
        # flag is told at once.
        runtime.import_tensorflow()
        from distmnist import model, trainer

        runtime.configure_tensorflow(
            workers.local_rank,
            workers.local_size,
            workers.size,
            model.step_flops(settings.hidden1, settings.hidden2, settings.batch_size),
        )

        trainer.train(settings, workers)
    except UserError as error:
        workers.fail(error)
    except KeyboardInterrupt:
        workers.abort(130)
    except Exception:
        # A bug on one rank must not leave the others waiting for it.
        traceback.print_exc()
        workers.abort(1)


def _parse_flags() -> config.Config:
    config.define_flags()
    flags.adopt_module_key_flags(config)  # --help shows them
    return config.parse(sys.argv)


def _set_up_logging(rank: int) -> None:
    """Lets rank 0 tell what it does, and the others nothing but errors."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO if rank == 0 else logging.ERROR)
    # Of the libraries that log here too, only warnings are of interest.
    logging.get_absl_handler().addFilter(
        lambda record: record.levelno >= WARNING or __package__ in record.pathname
    )


if __name__ == "__main__":
    main()
