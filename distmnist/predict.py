"""Predicts the classes or numbers of examples.

Usage: python -m distmnist.predict [flags] FILE ...

Takes PNG and JPEG images, IDX files, .npy arrays, and tables (.csv, .parquet), each
prepared as the run's data were: images are resized, the columns of tables found by
their names. If the run is on MNIST or other digits, photographs and drawings are
preprocessed like MNIST's images: white on black, scaled, centered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distmnist import cli
from distmnist.core.errors import InputError
from distmnist.core.options import option
from distmnist.data import inputs
from distmnist.data.inputs import Example
from distmnist.distributed.cluster import Cluster

if TYPE_CHECKING:
    from distmnist.checkpoint.inference import Saved
    from distmnist.data.spec import DatasetSpec

_BATCH = 1000  # examples per call of the network
_MAX_NUMBERS = 8  # of one example, in the table

Outputs = Mapping[str, NDArray[Any]]
"""The network's outputs for one example, by name; see `inference.Predictor`."""


@dataclasses.dataclass(frozen=True)
class Options(cli.RunOptions):
    """Options of this program."""

    files: tuple[str, ...] = option(
        (), "Files of examples.", cli.INPUT, path=True, required=True, positional=True
    )
    preprocess: bool | None = option(
        None,
        "Preprocess images like MNIST's; by default, if the run is on MNIST or other "
        "digits.",
        cli.INPUT,
    )
    json: bool = option(
        False, "Print a JSON object per example, rather than a table.", cli.OUTPUT
    )


def main() -> None:
    """Predicts by the newest checkpoint of a run."""
    cli.run(Options, __doc__, _predict, single_process=True)


def _predict(options: Options, cluster: Cluster) -> None:
    from distmnist.checkpoint import inference
    from distmnist.metrics import console

    for path in options.files:
        inputs.check_readable(Path(path))
    saved = inference.find(options.log_dir, cluster, options.model, options.raw_weights)
    digits = _preprocesses(options, saved)
    # All files are read first: if one is bad, nothing is printed.
    examples = [
        example
        for path in options.files
        for example in inputs.read(Path(path), saved.spec, digits)
    ]
    predictor = inference.load_predictor(saved, cluster)
    outputs: list[Outputs] = []
    for first in range(0, len(examples), _BATCH):
        batch = [example.features for example in examples[first : first + _BATCH]]
        predicted = {k: v.numpy() for k, v in predictor(np.stack(batch)).items()}
        outputs += [dict(zip(predicted, row)) for row in zip(*predicted.values())]
    show = _json if options.json else _table
    console.write("".join(f"{line}\n" for line in show(examples, outputs, saved.spec)))


def _preprocesses(options: Options, saved: Saved) -> bool:
    """Returns whether images are preprocessed like MNIST's."""
    if options.preprocess and not inputs.can_be_digits(saved.spec):
        raise InputError(
            "flag --preprocess: is for runs on gray images of 28x28 pixels; leave it "
            "out, or name such a run by --log_dir"
        )
    if options.preprocess is None:
        return inputs.is_digits(saved.dataset["name"], saved.spec)
    return options.preprocess


def _kind(spec: DatasetSpec) -> str:
    return "image" if spec.is_image else "example"


def _table(
    examples: Sequence[Example], outputs: Sequence[Outputs], spec: DatasetSpec
) -> Iterator[str]:
    """Yields the lines of a table, aligned."""
    if "probabilities" in outputs[0] and not spec.target_shape:
        heads, cells = _classes(outputs, spec.class_names)
    else:
        heads, cells = _numbers(outputs, spec)
    right = range(1, 3) if len(heads) > 1 else range(1, 2)  # classes and numbers
    rows = [[_kind(spec), *heads]]
    rows += [[example.name, *row] for example, row in zip(examples, cells)]
    if spec.is_image:
        rows[0].append("preprocessing")
        for row, example in zip(rows[1:], examples):
            row.append("; ".join(example.preprocessing) or "none")
    widths = [max(map(len, column)) for column in zip(*rows)]
    for index, row in enumerate(rows):
        aligned = [
            f"{cell:>{width}}" if index and at in right else f"{cell:{width}}"
            for at, (cell, width) in enumerate(zip(row, widths))
        ]
        yield "  ".join(aligned).rstrip()


def _classes(
    outputs: Sequence[Outputs], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and cells of columns for a class each."""
    cells = []
    for each in outputs:
        probabilities = each["probabilities"]
        first, *others = np.argsort(-probabilities, kind="stable")[:2]
        second = [f"{names[i]} ({probabilities[i]:.4f})" for i in others]
        cells.append([names[first], f"{probabilities[first]:.4f}", *(second or ["-"])])
    return ["class", "probability", "runner-up"], cells


def _numbers(
    outputs: Sequence[Outputs], spec: DatasetSpec
) -> tuple[list[str], list[list[str]]]:
    """Returns the head and cells of a column for numbers, or for several classes."""
    name = next(iter(outputs[0]))  # before the probabilities
    cells = []
    for each in outputs:
        values = each[name].ravel()
        texts = [
            spec.class_names[value] if name == "class" else f"{value:.7g}"
            for value in values[:_MAX_NUMBERS].tolist()
        ]
        cells.append([" ".join(texts) + (" ..." if values.size > _MAX_NUMBERS else "")])
    return [(spec.target_name if name == "prediction" else "") or name], cells


def _json(
    examples: Sequence[Example], outputs: Sequence[Outputs], spec: DatasetSpec
) -> Iterator[str]:
    """Yields a JSON object per example."""
    for example, values in zip(examples, outputs):
        yield json.dumps(
            {
                _kind(spec): example.name,
                **{name: value.tolist() for name, value in values.items()},
                "done": example.preprocessing,  # the name that 0.1.0 gave it
            }
        )


if __name__ == "__main__":
    main()
