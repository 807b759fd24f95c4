"""Shared command-line setup: flags, logging, joining the ranks, reporting failures."""

from __future__ import annotations

import contextlib
import dataclasses
import logging as python_logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from absl import logging

from distmnist.core import errors, flags, registry, user_code
from distmnist.core.config import Config
from distmnist.core.errors import InputError, UserError, on_all_ranks
from distmnist.core.options import option, reuse, validate
from distmnist.data import loading
from distmnist.data.dataset import Dataset
from distmnist.distributed import devices, process, software
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.connect import connect
from distmnist.distributed.watchdog import watchdog

T = TypeVar("T")

INPUT = "Input"
OUTPUT = "Output"

_PACKAGE = os.path.dirname(__file__) + os.sep


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of every program that reads a run.

    Raises:
        InputError: a value is wrong.
    """

    log_dir: str = reuse(
        Config, "log_dir", group=INPUT, help="Run whose newest checkpoint is used."
    )
    model: str | None = reuse(
        Config,
        "model",
        default=None,
        group=INPUT,
        help="Network of the run, package.module:name, if it is your own: code is "
        "imported only if you name it; by default, the run's --model.",
        required=False,
    )
    raw_weights: bool = option(
        False,
        "Use the parameters themselves, not their moving average (--ema_decay).",
        INPUT,
    )

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)


def input_data_dir() -> Any:
    """Returns the option of programs that reload a run's data set."""
    return reuse(
        Config,
        "input_data_dir",
        default=None,
        group=INPUT,
        help="Directory of the data set's files; by default, where the run read them.",
    )


def dataset() -> Any:
    """Returns the option of programs that reload a run's data set, wherever it is."""
    return reuse(
        Config,
        "dataset",
        default=None,
        group=INPUT,
        help="Data set of the run: a path, if it moved; package.module:function, if it "
        "is your own code; or its URL, with --local_dir; by default, the run's "
        "--dataset.",
        required=False,
    )


def local_dir() -> Any:
    """Returns the option of programs that reload a run's data set, copied or not."""
    return reuse(
        Config,
        "local_dir",
        group=INPUT,
        help="Directory on each node's own disk to which prepared data are copied "
        "before they are read, as in training; required if --dataset is a URL.",
    )


@contextlib.contextmanager
def joined(stall_seconds: float = Config.stall_seconds) -> Iterator[Cluster]:
    """Joins the other ranks; a failure inside ends the job, reported in one line.

    Args:
        stall_seconds: hang timeout: without progress for so long, the job is aborted.
    """
    with watchdog.phase("starting"):
        yield from _joined(stall_seconds)


def _joined(stall_seconds: float) -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster = connect(stall_seconds)
        yield cluster
    except UserError as error:
        cluster.fail(error)
    except KeyboardInterrupt:
        cluster.abort(130)
    except SystemExit as error:
        if explained := user_code.explain(error):  # the other ranks wait for this one
            cluster.fail(explained)
        raise
    except Exception as error:
        explained = cluster.explain(error) or user_code.explain(error)
        if explained:
            if errors.debug:
                traceback.print_exc()
            cluster.fail(explained)
        # A bug on one rank must not leave the others waiting for it.
        traceback.print_exc()
        cluster.abort(1)


def prepare_tensorflow(
    config: Config,
    cluster: Cluster,
    dataset: Dataset | None = None,
    network: object = None,
) -> None:
    """Imports TensorFlow, and chooses its devices and threads for training.

    To be called before a collective: over Gloo, collectives use TensorFlow's devices.

    Args:
        config: run configuration.
        cluster: the ranks.
        dataset: replaces the one that --dataset names.
        network: replaces the one that --model names.

    Raises:
        InputError: a data set or network is unknown.
    """
    check_names(config)
    if not (dataset or registry.is_code(config.dataset, registry.DATASETS)):
        loading.find_source(config)  # a wrong path is reported at once
    devices.import_tensorflow()
    # Before the user's code, which may use TensorFlow.
    devices.choose_gpu(cluster.local_rank)
    from distmnist.models import registry as models

    spec = dataset.spec if dataset else loading.find_source(config).spec
    flops = models.step_flops(config, spec, network)
    try:
        _configure_tensorflow(cluster, flops)
    except RuntimeError:  # it has computed already
        if registry.is_code(config.dataset, registry.DATASETS) and not dataset:
            logging.warning(
                "--dataset=%s has used TensorFlow, which keeps its number of threads",
                config.dataset,
            )


def assert_consistent(config: Config, cluster: Cluster) -> None:
    """Checks that all ranks have the same software and configuration.

    Raises:
        InputError: on all ranks, if they have not.
    """
    if cluster.size > 1:
        cluster.assert_consistent(software.versions(), software.REMEDY)
        cluster.assert_consistent(
            {f"flag --{k}": v for k, v in dataclasses.asdict(config).items()},
            "start all ranks with the same flags",
        )


def prepare_inference(_: object, cluster: Cluster) -> None:
    """Imports TensorFlow, and chooses its devices and threads for inference."""
    devices.import_tensorflow()
    # Batches of many examples are enough work for all cores.
    _configure_tensorflow(cluster, math.inf)


def _configure_tensorflow(cluster: Cluster, step_flops: float) -> None:
    devices.configure_tensorflow(
        cluster.local_rank, cluster.local_size, cluster.size, step_flops
    )


def check_names(config: Config) -> None:
    """Checks that --dataset, --model and --optimizer are known or of importable form.

    It imports none of them, so that it can precede the import of TensorFlow.

    Raises:
        InputError: they do not.
    """
    if registry.is_code(config.dataset, registry.DATASETS):
        registry.check("dataset", config.dataset, registry.DATASETS)
    registry.check("model", config.model, registry.MODELS)
    registry.check("optimizer", config.optimizer, registry.OPTIMIZERS)


def run(
    options_class: type[T],
    usage: str | None,
    work: Callable[[T, Cluster], None],
    prepare: Callable[[T, Cluster], None] = prepare_inference,
    single_process: bool = False,
) -> None:
    """Runs a program: parses the flags, joins the other ranks, works.

    Args:
        options_class: dataclass of the program's options.
        usage: head of the program's help.
        work: the program, called on all ranks with the options and the cluster.
        prepare: called on each rank before the first collective, if its flags are
            right. TensorFlow is imported no earlier: that takes seconds.
        single_process: the program must not be run by several ranks.
    """
    options, error = None, None
    try:
        options = flags.parse(options_class, sys.argv, usage)
    except UserError as caught:
        error = caught
    if flags.verbosity() > logging.INFO:
        process.enable_library_logs()
    training = options if isinstance(options, Config) else Config()
    with joined(training.stall_seconds) as cluster:
        set_up_logging(cluster.rank, flags.verbosity())
        if single_process and cluster.size > 1:
            raise on_all_ranks(
                InputError(
                    "this command runs as a single process, and a launcher started "
                    f"{cluster.size}: start it without a launcher"
                )
            )
        try:
            raise_if(error)
            prepare(cast(T, options), cluster)
        except UserError as caught:
            error = caught
        # Elastic ranks may only communicate in the job itself, which has to begin
        # with a collective of the same kind.
        if error or not cluster.is_elastic:
            cluster.run_collectively(lambda: raise_if(error))
        work(cast(T, options), cluster)


def raise_if(error: UserError | None) -> None:
    """Raises an error, if there is one."""
    if error:
        raise error


def set_up_logging(rank: int, verbosity: int = logging.INFO) -> None:
    """Has rank 0 log its progress, and the other ranks only errors.

    Args:
        rank: rank of this process.
        verbosity: absl's; above INFO, all ranks and all libraries log.
    """
    logging.use_absl_handler()
    everything = verbosity > logging.INFO
    logging.set_verbosity(verbosity if rank == 0 or everything else logging.ERROR)
    # Warns where the home directory is read-only, for it caches a list of fonts there.
    python_logging.getLogger("matplotlib").setLevel(python_logging.ERROR)
    # Libraries log here too: only their warnings are shown.
    logging.get_absl_handler().addFilter(
        lambda record: (
            everything
            or record.levelno >= python_logging.WARNING
            or record.pathname.startswith(_PACKAGE)
        )
    )
