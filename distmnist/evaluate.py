"""Evaluates a checkpoint: accuracy, per-class metrics, confusion matrix.

Usage: python -m distmnist.evaluate [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distmnist import cli
from distmnist.core.options import one_of, option
from distmnist.distributed.cluster import Cluster

if TYPE_CHECKING:
    from distmnist.metrics.types import SplitResult


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


def main() -> None:
    """Evaluates the newest checkpoint of a run."""
    cli.run(Options, __doc__, _evaluate)


def _evaluate(options: Options, cluster: Cluster) -> None:
    from distmnist.checkpoint import inference
    from distmnist.data import tensors
    from distmnist.metrics import console
    from distmnist.metrics.evaluator import Evaluator

    saved = inference.find(options.log_dir, cluster)
    dataset = inference.load_dataset(saved, cluster, options.input_data_dir)
    splits = tensors.to_tensors({options.split: dataset.splits[options.split]})
    network = inference.load(saved, cluster)
    results = Evaluator(splits, network, cluster, dataset.spec).evaluate()
    if cluster.rank == 0:
        console.print_results(results)
        console.write(_tables(results[options.split], dataset.spec.class_names))


def _tables(result: SplitResult, names: Sequence[str]) -> str:
    """Returns the metrics of each class, and the confusion matrix."""
    width = max(5, *map(len, names))
    lines = ["", f"{'class':{width}}  examples  precision  recall"]
    examples = result.confusion.sum(axis=1)
    rows = zip(names, examples, result.precision, result.recall)
    for name, count, precision, recall in rows:
        lines.append(f"{name:>{width}}  {count:8}  {precision:9.4f}  {recall:6.4f}")
    lines += ["", "Confusion matrix (row: label, column: prediction):"]
    cell = max(6, width + 1)
    lines.append(" " * width + "".join(f"{name:>{cell}}" for name in names))
    for name, row in zip(names, result.confusion):
        lines.append(f"{name:>{width}}" + "".join(f"{count:{cell}}" for count in row))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
