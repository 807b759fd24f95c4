"""What all programs do alike: join the ranks, tell a failure in one line."""

from __future__ import annotations

import argparse
import contextlib
import math
import traceback
from collections.abc import Callable, Iterator
from logging import WARNING
from typing import NoReturn, TypeVar, cast

from absl import flags, logging

from distmnist.core.config import Config
from distmnist.core.errors import InputError, UserError, on_all_ranks
from distmnist.distributed import cluster, process
from distmnist.distributed.cluster import Cluster

T = TypeVar("T")


@contextlib.contextmanager
def joined(stall_seconds: float = 600) -> Iterator[Cluster]:
    """Joins the other ranks; a failure inside ends the job, told in one line.

    Args:
        stall_seconds: how long ranks may wait for one that does not come to a
            collective.
    """
    try:
        workers = cluster.connect(stall_seconds)
    except UserError as error:
        Cluster().fail(error)
    try:
        yield workers
    except UserError as error:
        workers.fail(error)
    except KeyboardInterrupt:
        workers.abort(130)
    except Exception as error:
        if explained := workers.explain(error):
            workers.fail(explained)
        # A bug on one rank must not leave the others waiting for it.
        traceback.print_exc()
        workers.abort(1)


def run(
    parse: Callable[[], T], work: Callable[[T, Cluster], None], alone: bool = False
) -> None:
    """Joins the other ranks, works, and exits where it fails.

    Args:
        parse: reads the command line.  TensorFlow is loaded only after it, because
            that takes seconds, and a wrong flag is told at once.
        work: takes what `parse` returned, and the ranks.
        alone: there must be no other ranks.
    """
    settings, wrong = None, None
    try:
        settings = parse()
    except UserError as error:
        wrong = error
    with joined() as workers:
        set_up_logging(workers.rank)
        if alone and workers.size > 1:
            raise on_all_ranks(
                InputError(
                    f"this is the work of one process, and {workers.size} were "
                    "started: start it without a launcher"
                )
            )
        if not wrong:
            process.import_tensorflow()
            # Before a collective of Horovod's does it. Many examples a pass are
            # enough work for all cores.
            process.configure_tensorflow(
                workers.local_rank, workers.local_size, workers.size, math.inf
            )
        workers.together(lambda: raise_if(wrong))
        work(cast(T, settings), workers)


def prepare_tensorflow(settings: Config, workers: Cluster) -> None:
    """Imports TensorFlow, and chooses its devices before anything uses them."""
    # Imported only now, because it takes seconds to load, and a wrong flag is told at
    # once.
    process.import_tensorflow()
    from distmnist.models import registry

    try:
        network = registry.find(settings.model)
    except UserError as error:
        wrong = error
        workers.together(lambda: raise_if(wrong))
        raise
    process.configure_tensorflow(
        workers.local_rank,
        workers.local_size,
        workers.size,
        network.step_flops(settings),
    )


def raise_if(error: UserError | None) -> None:
    """Raises an error, if there is one."""
    if error:
        raise error


def set_up_logging(rank: int, verbosity: int = logging.INFO) -> None:
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
            all_of_it or record.levelno >= WARNING or "distmnist" in record.pathname
        )
    )


class Parser(argparse.ArgumentParser):
    """Reads the flags of a program that trains nothing; a wrong one is an InputError.

    All take `--log_dir`.
    """

    def __init__(self, program: str, description: str | None):
        super().__init__(
            prog=f"python -m distmnist.{program}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        flags.FLAGS.mark_as_parsed()  # absl's logging asks, and they have defaults
        self.add_argument(
            "--log_dir",
            default="logs",
            help="directory of the run whose newest checkpoint is taken (%(default)s)",
        )

    def add_input_data_dir(self) -> None:
        """Adds the flag of those who need the data of the run again."""
        self.add_argument(
            "--input_data_dir",
            help="directory of MNIST's files, if they are no longer where the run had "
            "them",
        )

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message} (--help lists all)")
