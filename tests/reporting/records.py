"""Records of runs, made up for tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from distmnist.checkpoint.inference import Saved
from distmnist.core.config import Config
from distmnist.data.dataset import DatasetSpec
from distmnist.metrics.types import Mistakes, SplitResult
from distmnist.reporting.reader import CheckpointEvaluation, Line, RunRecord

_VARIED = ("loss", "gradient_norm", "examples_per_sec")
_SPLITS = {"train": 1000, "validation": 100, "test": 100}


def lines(steps: int = 40, size: int = 1, **values: Any) -> list[Line]:
    """Returns the "train" lines of a run that learns.

    Args:
        steps: Number of lines, ten steps each.
        size: Number of ranks.
        **values: Values of fields, in every line.
    """
    return [
        {
            "kind": "train",
            "step": 10 * step,
            "loss": 2.3 / step,
            "gradient_norm": 1 / step,
            "examples_per_sec": 1000.0 * size + step,
            "epoch": step * size / 2,
            "size": size,
            "time": 1.7e9 + step,
            "elapsed": float(step),
            **values,
        }
        for step in range(1, steps + 1)
    ]


def evaluation(
    num_classes: int, shape: tuple[int, ...], name: str = "class"
) -> CheckpointEvaluation:
    """Returns an evaluation: three mistakes of each class, and more of the first.

    Args:
        num_classes: Number of classes.
        shape: Shape of the features.
        name: Start of the classes' names.
    """
    random = np.random.default_rng(0)
    spec = DatasetSpec(
        shape, num_classes, tuple(f"{name} {index}" for index in range(num_classes))
    )
    confusion = 97 * np.eye(num_classes, dtype=np.int64)
    confusion += 3 * np.roll(np.eye(num_classes, dtype=np.int64), 1, axis=1)
    confusion[0, 1] = 40
    total, correct = int(confusion.sum()), int(np.trace(confusion))
    labels = np.arange(12) % num_classes
    mistakes = Mistakes(
        random.integers(0, 256, (12, spec.num_features)).astype(np.uint8),
        labels,
        (labels + 1) % num_classes,
        np.linspace(1e-9, 0.4, 12).astype(np.float32),
    )
    results = {split: SplitResult(total, correct, confusion) for split in _SPLITS}
    return CheckpointEvaluation(spec, results, mistakes)


def record(name: str, accuracy: float = 0.9, size: int = 1, **config: Any) -> RunRecord:
    """Returns the record of a run.

    Args:
        name: Run directory.
        accuracy: Its last accuracy on every split; its losses grow with it.
        size: Number of ranks.
        **config: Fields of its configuration.
    """
    trained = [
        {**line, **{name: line[name] * (1 + accuracy - 0.9) for name in _VARIED}}
        for line in lines(size=size)
    ]
    evals: dict[str, list[Line]] = {
        split: [
            {**trained[step], "precision": accuracy - 1 / (step + 2)}
            | {"num_examples": count, "split": split}
            for step in (9, 19, 29)
        ]
        + [{**trained[-1], "precision": accuracy, "num_examples": count}]
        for split, count in _SPLITS.items()
    }
    saved = Saved(
        f"{name}/model.ckpt-400",
        400,
        Config(log_dir=name, **config),
        {"name": "digits", "source": "", "fingerprint": ""},
    )
    start = {"kind": "start", "step": 0, "host": "node", "size": size, "time": 1.7e9}
    evaluated = evaluation(10, (8, 8, 1))
    return RunRecord(name, start, trained, evals, saved, evaluated, "")
