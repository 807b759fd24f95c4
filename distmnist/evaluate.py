"""Evaluates a checkpoint: metrics, also of each class, and confusions.

Usage: python -m distmnist.evaluate [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distmnist import cli
from distmnist.core.options import option
from distmnist.core.rules import one_of
from distmnist.distributed.cluster import Cluster

if TYPE_CHECKING:
    from distmnist.metrics.types import ClassCounts

_MAX_MATRIX = 50  # classes up to which the whole confusion matrix is printed
_MAX_PAIRS = 20  # confusions that are printed of more classes
_MAX_HEAD = 8  # characters of a class name, up to which it is the head of a column


@dataclasses.dataclass(frozen=True)
class Options(cli.RunOptions):
    """Options of this program."""

    split: str = option(
        "test",
        "Split to evaluate.",
        cli.INPUT,
        one_of("train", "validation", "test"),
    )
    input_data_dir: str | None = cli.input_data_dir()
    dataset: str | None = cli.dataset()
    local_dir: str = cli.local_dir()


def main() -> None:
    """Evaluates the newest checkpoint of a run."""
    cli.run(Options, __doc__, _evaluate)


def _evaluate(options: Options, cluster: Cluster) -> None:
    from distmnist.checkpoint import inference, training_data
    from distmnist.data import tensors
    from distmnist.metrics import console
    from distmnist.metrics.evaluator import Evaluator

    saved = inference.find(options.log_dir, cluster, options.model, options.raw_weights)
    dataset = training_data.load(
        saved, cluster, options.input_data_dir, options.dataset, options.local_dir
    )
    splits = tensors.to_tensors({options.split: dataset.splits[options.split]})
    network = inference.load(saved, cluster)
    results = Evaluator(splits, network, cluster, dataset.spec).evaluate()
    if cluster.rank == 0:
        console.print_results(results)
        counts = results[options.split].counts
        if counts and counts.confusion is not None:
            console.write(_tables(counts, counts.confusion, dataset.spec.class_names))


def _tables(
    counts: ClassCounts, confusion: NDArray[np.int64], names: Sequence[str]
) -> str:
    """Returns the metrics of each class, and the confusions."""
    width = max(5, *map(len, names))
    lines = ["", f"{'class':{width}}  examples  precision  recall"]
    rows = zip(names, confusion.sum(axis=1), counts.precision, counts.recall)
    for name, count, precision, recall in rows:
        lines.append(f"{name:>{width}}  {count:8}  {precision:9.4f}  {recall:6.4f}")
    if len(names) <= _MAX_MATRIX:
        lines += ["", *_matrix(confusion, names)]
    else:
        lines += ["", *_pairs(counts.most_confused(_MAX_PAIRS), names)]
    return "\n".join(lines) + "\n"


def _matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> Iterator[str]:
    """Yields the lines of the confusion matrix."""
    width = max(5, *map(len, names))
    columns = names
    if width > _MAX_HEAD:  # long names would make long lines
        names = [f"{name}  {index:2}" for index, name in enumerate(names)]
        columns = [str(index) for index in range(len(names))]
        width += 4
    cell = max(6, 1 + max(map(len, columns)))
    yield "Confusion matrix (row: label, column: prediction):"
    yield " " * width + "".join(f"{name:>{cell}}" for name in columns)
    for name, row in zip(names, confusion):
        yield f"{name:>{width}}" + "".join(f"{count:{cell}}" for count in row)


def _pairs(
    pairs: Sequence[tuple[int, int, int]], names: Sequence[str]
) -> Iterator[str]:
    """Yields the lines of the most frequent confusions."""
    rows = [("label", "prediction")]
    rows += [(names[label], names[prediction]) for label, prediction, _ in pairs]
    widths = [max(map(len, column)) for column in zip(*rows)]
    yield f"Most frequent confusions, of {len(names)} classes:"
    for row, count in zip(rows, ["examples", *(count for *_, count in pairs)]):
        label, prediction = (f"{name:{width}}" for name, width in zip(row, widths))
        yield f"{label}  {prediction}  {count:>8}"


if __name__ == "__main__":
    main()
