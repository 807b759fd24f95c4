"""Reads the records of runs, and evaluates their newest checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.checkpoint import inference
from distmnist.checkpoint.inference import Saved
from distmnist.core.errors import InputError, UserError
from distmnist.core.run_directory import RunDirectory
from distmnist.data import tensors
from distmnist.data.dataset import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.evaluator import Evaluator, most_wrong
from distmnist.metrics.types import Mistakes, SplitResult

Line = Mapping[str, Any]
"""A line of metrics.jsonl."""

_Fields = Mapping[str, "type | tuple[type, ...]"]
_NUMBER = (int, float)
_ALL: _Fields = {"step": int, "size": int, "time": _NUMBER}
_TRAIN = ("epoch", "loss", "gradient_norm", "examples_per_sec")
_FIELDS: Mapping[str, _Fields] = {
    "start": _ALL,
    "train": {**_ALL, **dict.fromkeys(_TRAIN, _NUMBER)},
    "eval": {**_ALL, "split": str, "num_examples": int, "precision": _NUMBER},
}
"""What the report needs of each kind of line."""


class CheckpointEvaluation(NamedTuple):
    """The evaluation of a checkpoint.

    Attributes:
        spec: shapes and classes of the data set.
        results: result by name of the split.
        most_wrong: misclassified examples of the test split.
    """

    spec: DatasetSpec
    results: Mapping[str, SplitResult]
    most_wrong: Mistakes


class RunRecord(NamedTuple):
    """The record of a run.

    Attributes:
        name: run directory.
        start: newest "start" line of metrics.jsonl; empty if there is none.
        train: "train" lines, in the order of steps; "elapsed" is the training time, in
            seconds, without the pauses between a stop and a resumption.
        eval: "eval" lines by name of the split, likewise.
        saved: metadata of the newest checkpoint; None if there is no valid one.
        evaluation: evaluation of that checkpoint; None if it failed.
        failure: reason why there is no evaluation; else empty.
    """

    name: str
    start: Line
    train: Sequence[Line]
    eval: Mapping[str, Sequence[Line]]
    saved: Saved | None
    evaluation: CheckpointEvaluation | None
    failure: str

    @property
    def num_examples(self) -> int | None:
        """Size of the training split; None if it was never evaluated."""
        lines = self.eval.get("train")
        return int(lines[-1]["num_examples"]) if lines else None

    def epochs(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the passes over the training split up to each step, interpolated."""
        known = [0.0, *(line["step"] for line in self.train)]
        epochs = [0.0, *(line["epoch"] for line in self.train)]
        passes: NDArray[np.float64] = np.interp(steps, known, epochs)
        return passes


def read(
    log_dir: str, cluster: Cluster, input_data_dir: str | None = None
) -> RunRecord:
    """Reads the record of a run, and evaluates its newest checkpoint.

    Args:
        log_dir: run directory.
        cluster: a single process.
        input_data_dir: directory of the data files; by default that of the run.

    Raises:
        InputError: metrics.jsonl is missing or malformed.
    """
    lines = _read_lines(RunDirectory(log_dir).metrics)
    starts = [line for line in lines if line["kind"] == "start"]
    lines = sorted(_with_elapsed(lines), key=lambda line: float(line["step"]))
    evals: dict[str, list[Line]] = {}
    for line in lines:
        if line["kind"] == "eval":
            evals.setdefault(line["split"], []).append(line)
    saved, evaluation, failure = None, None, ""
    try:
        saved = inference.find(log_dir, cluster)
        evaluation = _evaluate(saved, cluster, input_data_dir)
    except UserError as error:
        failure = str(error)
    return RunRecord(
        name=log_dir,
        start=starts[-1] if starts else {},
        train=[line for line in lines if line["kind"] == "train"],
        eval=evals,
        saved=saved,
        evaluation=evaluation,
        failure=failure,
    )


def _evaluate(
    saved: Saved, cluster: Cluster, input_data_dir: str | None
) -> CheckpointEvaluation:
    """Evaluates a checkpoint.

    Raises:
        UserError: the checkpoint or its data set cannot be loaded.
    """
    dataset = inference.load_dataset(saved, cluster, input_data_dir)
    splits = tensors.to_tensors(dataset.splits)
    network = inference.load(saved, cluster)
    results = Evaluator(splits, network, cluster, dataset.spec).evaluate()
    return CheckpointEvaluation(
        dataset.spec, results, most_wrong(splits["test"], network)
    )


def _read_lines(path: Path) -> list[Line]:
    """Reads a file of JSON lines, the last of which may be incomplete.

    Raises:
        InputError: it cannot be read, or another line is not JSON.
    """
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the --log_dir of a run"
        ) from None
    # Not splitlines: it splits at characters that JSON strings may hold.
    texts = content.removesuffix("\n").split("\n")
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:
            if number == len(texts):  # the last is incomplete if the run was killed
                break
            raise InputError(
                f"{path}, line {number}: is not JSON; delete the line"
            ) from None
        reason = _fault(line)
        if reason:
            raise InputError(f"{path}, line {number}: {reason}; delete the line")
        lines.append(line)
    return lines


def _fault(line: object) -> str:
    """Returns what is wrong with a line; nothing, if it is as written by a run."""
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        return "is not an object with a 'kind'"
    # Kinds that the report does not know are not shown.
    for name, types in _FIELDS.get(line["kind"], _ALL).items():
        if not isinstance(line.get(name), types) or isinstance(line.get(name), bool):
            return f"has no valid {name!r}"
    return ""


def _with_elapsed(lines: Sequence[Line]) -> list[Line]:
    """Adds the training time so far, without pauses, to each line."""
    elapsed = 0.0
    timed: list[Line] = []
    for previous, line in zip((None, *lines), lines):
        if previous and line["kind"] != "start":
            elapsed += max(line["time"] - previous["time"], 0.0)
        timed.append({**line, "elapsed": elapsed})
    return timed
