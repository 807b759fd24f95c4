"""Says which digit a picture shows.

python -m distmnist.predict [flags] digit.png ...  Takes PNG, JPEG and IDX files, and
makes pictures what MNIST's are: white on black, scaled, centred.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmnist import cli
from distmnist.data import idx, mnist_images
from distmnist.distributed.cluster import Cluster

_CHUNK = 1000  # images a pass


class Prediction(NamedTuple):
    """What the network says of one image.

    Attributes:
        name: of the file, and the index of the image, from 0, if that is an IDX file.
        probabilities: float32 [10].
        done: what was done to the image, in words.
    """

    name: str
    probabilities: NDArray[np.float32]
    done: tuple[str, ...]


def main() -> None:
    """Classifies files by the newest checkpoint of a run."""
    cli.run(_parse, _predict, alone=True)


def _parse() -> argparse.Namespace:
    parser = cli.Parser("predict", __doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="file")
    parser.add_argument(
        "--json", action="store_true", help="an object a line, rather than a table"
    )
    return parser.parse_args()


def _predict(options: argparse.Namespace, workers: Cluster) -> None:
    from distmnist.checkpoint import inference
    from distmnist.metrics import console

    # All files first: one that can't be read is told before anything is printed.
    digits = [digit for path in options.files for digit in _read(path)]
    names, images, done = zip(*digits)
    classifier = inference.Classifier(
        inference.load(inference.find(options.log_dir, workers), workers)
    )
    probabilities = np.concatenate(
        [
            classifier(np.stack(images[first : first + _CHUNK]))["probabilities"]
            for first in range(0, len(images), _CHUNK)
        ]
    )
    predictions = [Prediction(*row) for row in zip(names, probabilities, done)]
    console.write((_json if options.json else _table)(predictions))


def _read(path: Path) -> Iterator[tuple[str, NDArray[np.uint8], tuple[str, ...]]]:
    """Yields name, pixels and what was done, for each image of a file."""
    if idx.is_images(path):
        images, _ = idx.read_images(path)
        for index, pixels in enumerate(images):
            yield f"{path}[{index}]", pixels, ()
    else:
        digit = mnist_images.read(path)
        yield str(path), digit.pixels.reshape(-1), digit.done


def _table(predictions: list[Prediction]) -> str:
    width = max(len("image"), *(len(prediction.name) for prediction in predictions))
    lines = [f"{'image':{width}}  digit  probability  else            what was done"]
    for name, probabilities, done in predictions:
        first, second = np.argsort(-probabilities, kind="stable")[:2]
        other = f"{second} ({probabilities[second]:.4f})"
        lines.append(
            f"{name:{width}}  {first:5}  {probabilities[first]:11.4f}  {other:14}  "
            f"{'; '.join(done) or 'nothing'}"
        )
    return "".join(f"{line}\n" for line in lines)


def _json(predictions: list[Prediction]) -> str:
    return "".join(
        json.dumps(
            {
                "image": name,
                "class": int(probabilities.argmax()),
                "probabilities": probabilities.tolist(),
                "done": done,
            }
        )
        + "\n"
        for name, probabilities, done in predictions
    )


if __name__ == "__main__":
    main()
