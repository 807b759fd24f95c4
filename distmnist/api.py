"""Training from Python, for example in a notebook: `distmnist.fit(distmnist.Config())`.

It is not called `train`, because `distmnist.train` is the program's module, which
replaces anything of its name in the package as soon as it is imported.
"""

from __future__ import annotations

import contextlib
import html
import math
from typing import TYPE_CHECKING, NamedTuple

from distmnist import cli
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.distributed.connect import connect

if TYPE_CHECKING:
    from distmnist.checkpoint.inference import Classifier
    from distmnist.data.dataset import Dataset


class Fitted(NamedTuple):
    """The result of a training.

    Attributes:
        precision: accuracy by name of the split, in [0, 1].
        loss: mean loss of the last global batch; nan if nothing was left to train.
        step: completed steps.
        log_dir: run directory.
        model: classifies examples, uint8 [n, ...], in the data set's shape or flat.
        dataset: the data set.
    """

    precision: dict[str, float]
    loss: float
    step: int
    log_dir: str
    model: Classifier
    dataset: Dataset

    @property
    def trained(self) -> bool:
        """Whether any step was taken; False if the run was already complete."""
        return not math.isnan(self.loss)

    def __repr__(self) -> str:
        """Returns a summary of a few lines."""
        rows = (f"  {name}: {value}" for name, value in self._summary().items())
        return "\n".join(("Fitted", *rows))

    def _repr_html_(self) -> str:
        """Returns the summary as a table, for notebooks."""
        rows = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table>{''.join(rows)}</table>"

    def _summary(self) -> dict[str, str]:
        """Returns the rows of the summary."""
        rows = {f"accuracy, {k}": f"{v:.4f}" for k, v in self.precision.items()}
        loss = f"{self.loss:.4g}" if self.trained else "none: nothing was left to train"
        rows.update(loss=loss, steps=str(self.step), run=self.log_dir)
        if not self.trained:
            rows["for another run"] = "Config(log_dir=...), or Config(restart=True)"
        return rows


def fit(config: Config) -> Fitted:
    """Trains as `python -m distmnist.train` does, and writes the same files.

    Under horovodrun or mpirun all ranks must call it.

    Args:
        config: run configuration; each field is a flag of the program.

    Raises:
        UserError: bad input, or a full disk.
    """
    if config.elastic:
        raise InputError(
            "flag --elastic: is for python -m distmnist.train, not for fit"
        )
    cluster = connect(config.stall_seconds)

    def prepare() -> None:
        # TensorFlow that has begun to compute keeps its number of threads.
        with contextlib.suppress(RuntimeError):
            cli.prepare_tensorflow(config, cluster)

    cluster.run_collectively(prepare)
    from distmnist.checkpoint.inference import Classifier
    from distmnist.trainer import Trainer

    dataset = loading.load(config, cluster)
    trainer = Trainer(config, cluster, dataset)
    results = trainer.run()
    return Fitted(
        {split: result.accuracy for split, result in results.items()},
        trainer.progress.loss,
        trainer.progress.step,
        config.log_dir,
        Classifier(trainer.network, dataset.spec),
        dataset,
    )
