"""Training from Python, in a notebook say: `distmnist.fit(distmnist.Config(...))`.

It is not called `train`, because `distmnist.train` is the program's module, which takes
the place of anything of its name in the package as soon as it is imported.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from distmnist import cli
from distmnist.core.config import Config
from distmnist.distributed import cluster

if TYPE_CHECKING:
    from distmnist.checkpoint.inference import Classifier
    from distmnist.data.datasets import Dataset


class Fitted(NamedTuple):
    """What came of a training.

    Attributes:
        precision: precision @ 1 by name of the split, in [0, 1].
        loss: of the last global batch; nan if there was nothing left to train.
        step: completed steps.
        model: classifies images, uint8 [n, 28, 28] or [n, 784].
        dataset: what it was trained on.
    """

    precision: dict[str, float]
    loss: float
    step: int
    model: Classifier
    dataset: Dataset


def fit(config: Config) -> Fitted:
    """Trains as `python -m distmnist.train` does, and writes the same files.

    Under horovodrun or mpirun all ranks must call it.

    Args:
        config: what the flags are to the program.

    Raises:
        UserError: bad input, or a full disk.
    """
    workers = cluster.connect()
    # Once TensorFlow has begun to compute, it keeps the threads that it has.
    with contextlib.suppress(RuntimeError):
        cli.prepare_tensorflow(config, workers)
    from distmnist import trainer
    from distmnist.checkpoint import inference
    from distmnist.data import loading

    dataset = loading.load(config, workers)
    training = trainer.Trainer(config, workers, dataset)
    results = training.run()
    return Fitted(
        {split: result.value for split, result in results.items()},
        training.progress.loss,
        training.progress.step,
        inference.Classifier(training.network),
        dataset,
    )
