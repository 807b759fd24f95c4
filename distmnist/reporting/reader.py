"""Reads the records of runs, and evaluates their newest checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist.checkpoint import inference, training_data
from distmnist.checkpoint.inference import Saved
from distmnist.core.errors import InputError, UserError
from distmnist.core.run_directory import RunDirectory
from distmnist.data import tensors
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.metrics import most_wrong
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.types import Mistakes, Predictions, SplitResult
from distmnist.models.network import Network
from distmnist.reporting import lines
from distmnist.reporting.lines import Line


class CheckpointEvaluation(NamedTuple):
    """The evaluation of a checkpoint.

    Attributes:
        spec: shapes and classes of the data set.
        results: result by name of the split.
        most_wrong: misclassified examples of the test split; None if the targets are
            not a class each, or the network has a loss of its own.
        predictions: predicted numbers of the test split; None if the targets are
            classes, likewise.
    """

    spec: DatasetSpec
    results: Mapping[str, SplitResult]
    most_wrong: Mistakes | None
    predictions: Predictions | None


class RunRecord(NamedTuple):
    """The record of a run.

    Attributes:
        name: run directory.
        start: newest "start" line of metrics.jsonl; empty if there is none.
        train: "train" lines, in the order of steps; "elapsed" is the training time, in
            seconds, without the pauses between a stop and a resumption.
        eval: "eval" lines by name of the split, likewise; "metrics" has the metrics by
            name.
        saved: metadata of the newest checkpoint; None if there is no valid one.
        evaluation: evaluation of that checkpoint; None if it failed.
        failure: reason why there is no evaluation; else empty.
        breakdown: newest "breakdown" line; empty if there is none.
    """

    name: str
    start: Line
    train: Sequence[Line]
    eval: Mapping[str, Sequence[Line]]
    saved: Saved | None
    evaluation: CheckpointEvaluation | None
    failure: str
    breakdown: Line = MappingProxyType({})

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


class Replaced(NamedTuple):
    """What replaces settings of a run; None and "": nothing.

    Attributes:
        input_data_dir: of every run.
        dataset: --dataset of the first run, and of the others on the same data.
        model: --model of the first run, and of the others whose own does not fit.
        local_dir: --local_dir of every run.
    """

    input_data_dir: str | None = None
    dataset: str | None = None
    model: str | None = None
    local_dir: str = ""


NOTHING = Replaced()


def read_all(
    log_dirs: Sequence[str], cluster: Cluster, replaced: Replaced
) -> list[RunRecord]:
    """Reads the records of runs, and evaluates their newest checkpoints.

    Args:
        log_dirs: run directories.
        cluster: a single process.
        replaced: what replaces settings of the runs.

    Raises:
        InputError: metrics.jsonl of a run is missing or malformed.
    """
    runs: list[RunRecord] = []
    for log_dir in log_dirs:
        first = runs[0].saved if runs else None
        runs.append(read(log_dir, cluster, replaced, first))
    return runs


def read(
    log_dir: str,
    cluster: Cluster,
    replaced: Replaced = NOTHING,
    first: Saved | None = None,
) -> RunRecord:
    """Reads the record of a run, and evaluates its newest checkpoint.

    Args:
        log_dir: run directory.
        cluster: a single process.
        replaced: what replaces its settings.
        first: the run that `replaced` is about; None: this one.

    Raises:
        InputError: metrics.jsonl is missing or malformed.
    """
    logged = lines.read(RunDirectory(log_dir).metrics)
    starts = [line for line in logged if line["kind"] == "start"]
    logged = sorted(_with_elapsed(logged), key=lambda line: int(line["step"]))
    breakdowns = [line for line in logged if line["kind"] == "breakdown"]
    evals: dict[str, list[Line]] = {}
    for line in logged:
        if line["kind"] == "eval":
            evals.setdefault(line["split"], []).append(line)
    saved, evaluation, failure = None, None, ""
    try:
        saved = inference.find(log_dir, cluster)
        evaluation = _evaluate(saved, cluster, replaced, first)
    except UserError as error:
        failure = str(error)
    return RunRecord(
        name=log_dir,
        start=starts[-1] if starts else {},
        train=[line for line in logged if line["kind"] == "train"],
        eval=evals,
        saved=saved,
        evaluation=evaluation,
        failure=failure,
        breakdown=breakdowns[-1] if breakdowns else {},
    )


def _evaluate(
    saved: Saved, cluster: Cluster, replaced: Replaced, first: Saved | None
) -> CheckpointEvaluation:
    """Evaluates a checkpoint; see `read`.

    Raises:
        UserError: the checkpoint or its data set cannot be loaded.
    """
    name = replaced.dataset
    if first and first.dataset["fingerprint"] != saved.dataset["fingerprint"]:
        name = None
    dataset = training_data.load(
        saved, cluster, replaced.input_data_dir, name, replaced.local_dir
    )
    spec, splits = dataset.spec, tensors.to_tensors(dataset.splits)
    network = _load_network(saved, cluster, replaced.model, first)
    results = Evaluator(splits, network, cluster, spec).evaluate()
    counts = results["test"].counts
    found = most_wrong.find(splits["test"], network, spec, counts)
    return CheckpointEvaluation(spec, results, *found)


def _load_network(
    saved: Saved, cluster: Cluster, model: str | None, first: Saved | None
) -> Network:
    """Creates the network of a checkpoint; see `read`."""
    if model is None:
        return inference.load(saved, cluster)
    if first:
        with contextlib.suppress(InputError):
            return inference.load(saved, cluster)
    return inference.load(saved.of_model(model), cluster)


def _with_elapsed(logged: Sequence[Line]) -> list[Line]:
    """Adds the training time so far, without pauses, to each line."""
    elapsed = 0.0
    timed: list[Line] = []
    for previous, line in zip((None, *logged), logged):
        if previous and line["kind"] != "start":
            elapsed += max(line["time"] - previous["time"], 0.0)
        timed.append({**line, "elapsed": elapsed})
    return timed
