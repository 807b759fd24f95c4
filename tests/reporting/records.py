"""Records of runs, made up for tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from distmnist.checkpoint.inference import Saved
from distmnist.core.config import Config
from distmnist.data.spec import DatasetSpec
from distmnist.metrics.types import (
    ClassCounts,
    Errors,
    Mistakes,
    Predictions,
    SplitResult,
)
from distmnist.reporting.lines import Line
from distmnist.reporting.reader import CheckpointEvaluation, RunRecord

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
            "goodput": 0.5,
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
    counts = ClassCounts(total, correct, confusion)
    metrics = {"loss": 0.3, "accuracy": counts.accuracy}
    results = {split: SplitResult(total, metrics, counts) for split in _SPLITS}
    return CheckpointEvaluation(spec, results, mistakes, None)


def regression(
    shape: tuple[int, ...] = (3,),
    names: tuple[str, ...] = ("area", "rooms", "age"),
    dtype: str = "float32",
) -> CheckpointEvaluation:
    """Returns an evaluation of predicted prices.

    Args:
        shape: Shape of the features.
        names: Names of the columns.
        dtype: Type of the features.
    """
    random = np.random.default_rng(0)
    spec = DatasetSpec(
        shape, feature_dtype=dtype, feature_names=names, target_name="price"
    )
    targets = random.normal(3e5, 1e5, 100).astype(np.float32)
    predicted = targets + random.normal(0, 1e4, 100).astype(np.float32)
    features = random.integers(0, 256, (5, *shape)).astype(dtype)
    numbers = Predictions(
        predicted, targets, Errors(features, predicted[:5], targets[:5])
    )
    metrics = {
        "loss": 0.02,
        "mean_absolute_error": 12345.678,
        "mean_squared_error": 2e8,
    }
    results = {split: SplitResult(100, metrics, None) for split in _SPLITS}
    return CheckpointEvaluation(spec, results, None, numbers)


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
            _evaluated(trained[step], accuracy - 1 / (step + 2))
            | {"num_examples": count, "split": split}
            for step in (9, 19, 29)
        ]
        + [{**_evaluated(trained[-1], accuracy), "num_examples": count}]
        for split, count in _SPLITS.items()
    }
    evaluated = evaluation(10, (8, 8, 1))
    saved = Saved(
        f"{name}/model.ckpt-400",
        400,
        Config(log_dir=name, **config),
        {"name": "digits", "source": "", "fingerprint": ""},
        evaluated.spec,
    )
    start = {"kind": "start", "step": 0, "host": "node", "size": size, "time": 1.7e9}
    return RunRecord(name, start, trained, evals, saved, evaluated, "")


def _evaluated(line: Line, accuracy: float) -> Line:
    """Returns an "eval" line at the step of another line."""
    return {**line, "metrics": {"loss": 2 * line["loss"], "accuracy": accuracy}}


def numbers(name: str, accuracy: float = 0.9, **config: Any) -> RunRecord:
    """Returns the record of a run that predicts numbers.

    Args:
        name: Run directory.
        accuracy: As of `record`.
        **config: Fields of its configuration.
    """
    run = record(name, accuracy, **config)
    evals = {
        split: [
            {**line, "metrics": {"loss": 0.1, "mean_absolute_error": 5 + line["loss"]}}
            for line in found
        ]
        for split, found in run.eval.items()
    }
    assert run.saved
    evaluated = regression()
    data = {"name": "houses", "source": "", "fingerprint": "f"}
    saved = run.saved._replace(dataset=data, spec=evaluated.spec)
    return run._replace(eval=evals, saved=saved, evaluation=evaluated)
