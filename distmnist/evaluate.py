"""Judges a trained network: its precision, class by class, and its confusions.

python -m distmnist.evaluate [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from distmnist import cli
from distmnist.distributed.cluster import Cluster

if TYPE_CHECKING:
    from distmnist.metrics.types import Precision

SPLITS = ("train", "validation", "test")


def main() -> None:
    """Evaluates the newest checkpoint of a run."""
    cli.run(_parse, _evaluate)


def _parse() -> argparse.Namespace:
    parser = cli.Parser("evaluate", __doc__)
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="test",
        help="what it is judged on (%(default)s)",
    )
    parser.add_input_data_dir()
    return parser.parse_args()


def _evaluate(options: argparse.Namespace, workers: Cluster) -> None:
    from distmnist.checkpoint import inference
    from distmnist.data import loading
    from distmnist.metrics import console
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.metrics.types import Writer

    saved = inference.find(options.log_dir, workers)
    dataset = loading.load_for(saved, workers, options.input_data_dir)
    splits = loading.to_tensors({options.split: dataset.splits[options.split]})
    network = inference.load(saved, workers)
    results = Evaluator(splits, network, workers, Writer()).evaluate()
    if workers.rank == 0:
        console.tell_precision(results)
        console.write(_tables(results[options.split]))


def _tables(result: Precision) -> str:
    """Returns the figures of each class, and the confusion matrix."""
    lines = ["", "class  examples  precision  recall"]
    examples = result.confusion.sum(axis=1)
    rows = zip(examples, result.of_class, result.recall)
    for label, (count, precision, recall) in enumerate(rows):
        lines.append(f"{label:5}  {count:8}  {precision:9.4f}  {recall:6.4f}")
    lines += ["", "Of each label (row), how many were taken for each class (column):"]
    lines.append("     " + "".join(f"{label:6}" for label in range(len(examples))))
    for label, row in enumerate(result.confusion):
        lines.append(f"{label:5}" + "".join(f"{count:6}" for count in row))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
