"""Training from Python, for example in a notebook: `distmnist.fit(distmnist.Config())`.

It is not called `train`, because `distmnist.train` is the program's module, which
replaces anything of its name in the package as soon as it is imported.
"""

from __future__ import annotations

import contextlib
import gc
import html
import math
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from distmnist import cli
from distmnist.core.config import Config
from distmnist.core.errors import InputError, Preempted
from distmnist.data import loading
from distmnist.distributed.cluster import print_error
from distmnist.distributed.connect import connect
from distmnist.distributed.signals import BorrowedSignals
from distmnist.distributed.watchdog import watchdog

if TYPE_CHECKING:
    from distmnist.checkpoint.inference import Predictor
    from distmnist.data.dataset import Dataset
    from distmnist.distributed.cluster import Cluster
    from distmnist.metrics.records import Record


class Fitted(NamedTuple):
    """The result of a training; a notebook shows it as a table.

    Attributes:
        metrics: metrics by name, by name of the split.
        loss: mean loss of the last global batch; nan if there was nothing left to
            train.
        step: completed steps.
        model: predicts the targets of examples, in the data set's shape or flat.
        dataset: the data set.
        log_dir: run directory.
        history: metrics logged by this training, as in metrics.jsonl.
    """

    metrics: dict[str, dict[str, float]]
    loss: float
    step: int
    model: Predictor
    dataset: Dataset
    log_dir: str
    history: list[Record]

    @property
    def precision(self) -> dict[str, float]:
        """Accuracy by name of the split, in [0, 1]; empty if there are no classes."""
        return {
            split: metrics["accuracy"]
            for split, metrics in self.metrics.items()
            if "accuracy" in metrics
        }

    @property
    def trained(self) -> bool:
        """Whether this training took a step; False: there was nothing left to train."""
        return not math.isnan(self.loss)

    def __repr__(self) -> str:
        """Returns a table, as text."""
        rows = self._rows()
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())

    def _repr_html_(self) -> str:
        """Returns a table for notebooks, which style it."""
        rows = "".join(
            f'<tr><th style="text-align: left">{html.escape(name)}</th>'
            f'<td style="text-align: left">{html.escape(value)}</td></tr>'
            for name, value in self._rows().items()
        )
        return f"<table>{rows}</table>"

    def _rows(self) -> dict[str, str]:
        loss = (
            f"{self.loss:.4f}, last batch"
            if self.trained
            else "none: nothing was left to train; for another run, give another "
            "log_dir, or restart=True"
        )
        return {
            **{
                f"{split} {name.replace('_', ' ')}": f"{value:.4g}"
                if name != "accuracy"
                else f"{value:.4f}"
                for split, metrics in self.metrics.items()
                for name, value in metrics.items()
            },
            "loss": loss,
            "step": str(self.step),
            "log_dir": self.log_dir,
        }


def fit(
    config: Config, dataset: Dataset | None = None, network: object = None
) -> Fitted:
    """Trains as `python -m distmnist.train` does, and writes the same files.

    Under horovodrun or mpirun all ranks must call it. SIGTERM and SIGINT, and what
    counts as them, end it with a checkpoint, from which the next call with the same
    arguments continues; a program that handles a signal itself keeps its handler.

    Args:
        config: run configuration; each field is a flag of the program.
        dataset: replaces the one that --dataset names; see `create_dataset`.
        network: replaces the one that --model names: a `Network`, a Keras layer or
            model, or a class or function of (config, spec) that returns one.

    Raises:
        UserError: bad input, or a full disk.
        KeyboardInterrupt: on all ranks, after SIGINT, as by Ctrl-C or a notebook.
        SystemExit: on all ranks, after SIGTERM; ends the program with status 143.
    """
    if config.elastic:
        raise InputError(
            "flag --elastic: is for python -m distmnist.train, not for fit"
        )
    gc.collect()  # what is left of an earlier run holds its data, and refers to itself
    is_first = "tensorflow" not in sys.modules
    with watchdog.phase("starting"):
        return _fit(config, connect(config.stall_seconds), dataset, network, is_first)


def _fit(
    config: Config,
    cluster: Cluster,
    dataset: Dataset | None,
    network: object,
    is_first: bool,
) -> Fitted:
    def prepare() -> None:
        # TensorFlow that has begun to compute keeps its number of threads.
        with contextlib.suppress(RuntimeError):
            cli.prepare_tensorflow(config, cluster, dataset, network)

    cluster.run_collectively(prepare)
    cli.assert_consistent(config, cluster)
    if is_first:
        # The import has frozen garbage too, with frames that hold this one's variables.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    from distmnist.checkpoint.inference import Predictor
    from distmnist.trainer import Trainer

    if dataset is None:
        with watchdog.phase("loading the data set"):
            dataset = loading.load(config, cluster)
    else:
        dataset = loading.settle(dataset, cluster, config)
    trainer = Trainer(config, cluster, dataset, network)
    with BorrowedSignals() as signals:
        try:
            results = trainer.run(signals)
            if received := int(cluster.allreduce_max([signals.received])[0]):
                raise Preempted("stopped by a signal, after the last step", received)
        except Preempted as error:
            _end(cluster, error)
    trainer.average.keep()
    return Fitted(
        {split: dict(result.metrics) for split, result in results.items()},
        trainer.progress.loss,
        trainer.progress.step,
        Predictor(trainer.network, dataset.spec),
        dataset,
        config.log_dir,
        trainer.history.records,
    )


def _end(cluster: Cluster, error: Preempted) -> NoReturn:
    """Ends the user's program as the signal would have, once all ranks may end."""
    if cluster.rank == 0:
        print_error(str(error))
    cluster.allgather(None)  # launchers end the job at the first exit
    if error.exit_status == 128 + signal.SIGINT:
        interrupt = KeyboardInterrupt()  # no subclass: Python compares the class
        interrupt.on_all_ranks = True  # type: ignore[attr-defined]
        raise interrupt from None
    raise SystemExit(error.exit_status) from None
