"""Classifies images.

Usage: python -m distmnist.predict [flags] FILE ...

Takes PNG, JPEG and IDX files. Photographs and drawings are preprocessed like MNIST's
images: white on black, scaled, centered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist import cli
from distmnist.core.errors import InputError
from distmnist.core.options import option
from distmnist.data.sources import idx, mnist, mnist_images
from distmnist.distributed.cluster import Cluster

_BATCH = 1000  # images per call of the network


@dataclasses.dataclass(frozen=True)
class Options(cli.RunOptions):
    """Options of this program."""

    files: tuple[str, ...] = option(
        (), "Images to classify.", cli.INPUT, path=True, required=True, positional=True
    )
    json: bool = option(
        False, "Print a JSON object per image, rather than a table.", cli.OUTPUT
    )


class Prediction(NamedTuple):
    """The network's prediction for one image.

    Attributes:
        name: of the file; for an IDX file, followed by the image's index, from 0.
        probabilities: float32 [num_classes].
        preprocessing: steps that were applied to the image, in words.
    """

    name: str
    probabilities: NDArray[np.float32]
    preprocessing: tuple[str, ...]


def main() -> None:
    """Classifies files by the newest checkpoint of a run."""
    cli.run(Options, __doc__, _predict, single_process=True)


def _predict(options: Options, cluster: Cluster) -> None:
    from distmnist.checkpoint import inference
    from distmnist.metrics import console

    # All files are read first: if one is bad, nothing is printed.
    rows = [row for path in options.files for row in _read(Path(path))]
    names, images, preprocessing = zip(*rows)
    saved = inference.find(options.log_dir, cluster)
    if saved.spec.feature_shape != mnist.SPEC.feature_shape:
        shape = "x".join(map(str, saved.spec.feature_shape))
        raise InputError(
            f"flag --log_dir={options.log_dir}: a run on examples of shape {shape}, "
            "while images are preprocessed like MNIST's; name a run on such images"
        )
    classifier = inference.load_classifier(saved, cluster)
    probabilities = np.concatenate(
        [
            classifier(np.stack(images[first : first + _BATCH]))["probabilities"]
            for first in range(0, len(images), _BATCH)
        ]
    )
    predictions = [Prediction(*row) for row in zip(names, probabilities, preprocessing)]
    if options.json:
        console.write(_json(predictions))
    else:
        console.write(_table(predictions, saved.spec.class_names))


def _read(path: Path) -> Iterator[tuple[str, NDArray[np.uint8], tuple[str, ...]]]:
    """Yields name, pixels and preprocessing of each image of a file."""
    if idx.is_images(path):
        images, _ = idx.read_images(path)
        for index, pixels in enumerate(images):
            yield f"{path}[{index}]", pixels, ()
    else:
        image = mnist_images.read(path)
        yield str(path), image.pixels.reshape(-1), image.preprocessing


def _table(predictions: Sequence[Prediction], names: Sequence[str]) -> str:
    width = max(len("image"), *(len(prediction.name) for prediction in predictions))
    name_width = max(len("class"), *map(len, names))
    other_width = max(len("runner-up"), *(len(name) + 9 for name in names))
    lines = [
        f"{'image':{width}}  {'class':{name_width}}  probability  "
        f"{'runner-up':{other_width}}  preprocessing"
    ]
    for name, probabilities, preprocessing in predictions:
        first, second = np.argsort(-probabilities, kind="stable")[:2]
        runner_up = f"{names[second]} ({probabilities[second]:.4f})"
        lines.append(
            f"{name:{width}}  {names[first]:>{name_width}}  "
            f"{probabilities[first]:11.4f}  {runner_up:{other_width}}  "
            f"{'; '.join(preprocessing) or 'none'}"
        )
    return "".join(f"{line}\n" for line in lines)


def _json(predictions: Sequence[Prediction]) -> str:
    return "".join(
        json.dumps(
            {
                "image": name,
                "class": int(probabilities.argmax()),
                "probabilities": probabilities.tolist(),
                "done": preprocessing,  # the name that 0.1.0 gave it
            }
        )
        + "\n"
        for name, probabilities, preprocessing in predictions
    )


if __name__ == "__main__":
    main()
