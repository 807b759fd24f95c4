"""Exports a trained network for TensorFlow Serving, or any user of SavedModels.

python -m distmnist.export [flags].  Its signature, `serving_default`, takes "images",
uint8 [n, 28, 28] or [n, 784], white (255) on black, and returns "class", int32 [n], and
"probabilities", float32 [n, 10].
"""

from __future__ import annotations

import argparse
import os

from absl import logging

from distmnist import cli
from distmnist.core.errors import InputError, RunError
from distmnist.distributed.cluster import Cluster


def main() -> None:
    """Exports the newest checkpoint of a run."""
    cli.run(_parse, _export, alone=True)


def _parse() -> argparse.Namespace:
    parser = cli.Parser("export", __doc__)
    parser.add_argument(
        "--export_dir",
        required=True,
        help="directory of the SavedModel; TensorFlow Serving wants a number, its "
        "version, as the last part",
    )
    return parser.parse_args()


def _export(options: argparse.Namespace, workers: Cluster) -> None:
    import tensorflow as tf

    from distmnist.checkpoint import inference

    directory = options.export_dir
    if os.path.exists(directory) and (
        not os.path.isdir(directory) or os.listdir(directory)
    ):
        raise InputError(
            f"flag --export_dir={directory}: is there already; name a new directory"
        )
    saved = inference.find(options.log_dir, workers)
    classifier = inference.Classifier(inference.load(saved, workers))
    try:
        tf.saved_model.save(classifier, directory, signatures=classifier.__call__)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"directory {directory}: can't be written to ({error}); make room, or give "
            "another --export_dir"
        ) from None
    logging.info("Checkpoint %s was exported to %s", saved.path, directory)


if __name__ == "__main__":
    main()
