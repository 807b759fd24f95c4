"""Judges a trained network: its precision, class by class, and its confusions.

python -m distmnist.evaluate [flags], alone or under horovodrun or mpirun.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from distmnist import program
from distmnist.cluster import Cluster
from distmnist.errors import InputError

if TYPE_CHECKING:
    from distmnist.metrics import Precision

SPLITS = ("train", "validation", "test")


def main() -> None:
    """Evaluates the newest checkpoint of a run."""
    program.run(_parse, _evaluate)


def _parse() -> argparse.Namespace:
    parser = program.Parser("evaluate", __doc__)
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="test",
        help="what it is judged on (%(default)s)",
    )
    parser.add_argument(
        "--input_data_dir",
        help="directory of MNIST's files, if they are no longer where the run had them",
    )
    return parser.parse_args()


def _evaluate(options: argparse.Namespace, workers: Cluster) -> None:
    import tensorflow as tf

    from distmnist import console, trained
    from distmnist.datasets import Split
    from distmnist.evaluation import Evaluator
    from distmnist.metrics import Writer
    from distmnist.trainer import load_dataset

    saved = trained.find(options.log_dir, workers)
    config = saved.config
    if options.input_data_dir:
        config = dataclasses.replace(config, input_data_dir=options.input_data_dir)
    dataset = load_dataset(config, workers)
    there = saved.dataset["fingerprint"]
    if dataset.fingerprint != there:
        raise InputError(
            f"checkpoint {saved.path} is of another data set: its SHA-256 is {there} "
            f"there, {dataset.fingerprint} here; give --input_data_dir"
        )
    images, labels = dataset.splits[options.split]
    splits = {options.split: Split(tf.constant(images), tf.constant(labels))}
    network = trained.load(saved, workers)
    results = Evaluator(splits, network, workers, Writer()).evaluate()
    if workers.rank == 0:
        console.tell_precision(results)
        program.write(_tables(results[options.split]))


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
