"""Exports a network as a SavedModel, for TensorFlow Serving and others.

Usage: python -m distmnist.export --export_dir=DIR [flags]

The signature, `serving_default`, takes "images", uint8 [n, ...], in the shape of the
data set or flat, not scaled (MNIST: white, 255, on black). It returns "class", int32
[n], and "probabilities", float32 [n, number of classes].
"""

from __future__ import annotations

import dataclasses
import os

from absl import logging

from distmnist import cli
from distmnist.core.errors import InputError, RunError
from distmnist.core.options import option
from distmnist.distributed.cluster import Cluster


@dataclasses.dataclass(frozen=True)
class Options(cli.RunOptions):
    """Options of this program."""

    export_dir: str = option(
        "",
        "Directory of the SavedModel, new or empty; TensorFlow Serving expects its "
        "last component to be a number, the version.",
        cli.OUTPUT,
        path=True,
        required=True,
    )


def main() -> None:
    """Exports the newest checkpoint of a run."""
    cli.run(Options, __doc__, _export, single_process=True)


def _export(options: Options, cluster: Cluster) -> None:
    import tensorflow as tf

    from distmnist.checkpoint import inference

    directory = options.export_dir
    if os.path.exists(directory) and (
        not os.path.isdir(directory) or os.listdir(directory)
    ):
        raise InputError(
            f"flag --export_dir={directory}: already exists; name a new directory"
        )
    saved = inference.find(options.log_dir, cluster)
    classifier = inference.load_classifier(saved, cluster)
    try:
        tf.saved_model.save(classifier, directory, signatures=classifier.__call__)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"directory {directory}: cannot be written ({error}); free disk space, or "
            "give another --export_dir"
        ) from None
    logging.info("Checkpoint %s was exported to %s", saved.path, directory)


if __name__ == "__main__":
    main()
