"""Exports a network as a SavedModel, for TensorFlow Serving and others.

Usage: python -m distmnist.export --export_dir=DIR [flags]

The signature, `serving_default`, takes "images" if the data set has images, else
"features", of its type (uint8, int32 or float32) and shape, [n, ...], or flat; raw, as
in the data set, not scaled or normalized (MNIST: white, 255, on black). For classes it
returns "class", int32 [n], and "probabilities", float32 [n, number of classes]; for
numbers "prediction", float32 [n], in the units of the targets; each with the dimensions
of one example's target after the first, if it has some. A network with a loss of its
own that returns neither logits nor such numbers: "outputs", as it returns them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import logging

from distmnist import cli
from distmnist.core.errors import InputError, RunError
from distmnist.core.options import option
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed.cluster import Cluster

if TYPE_CHECKING:
    from distmnist.checkpoint.inference import Saved

_MODEL = "saved_model.pb"


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
    saved = inference.find(options.log_dir, cluster, options.model, options.raw_weights)
    predictor = inference.load_predictor(saved, cluster)
    try:
        with _whole(directory) as temporary:
            card = os.path.join(temporary, RunDirectory(options.log_dir).card.name)
            with open(card, "w", encoding="utf-8", errors="replace") as file:
                file.write(_card(saved))
            tf.saved_model.save(predictor, temporary, signatures=predictor.signature)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise RunError(
            f"directory {directory}: cannot be written ({reason}), and nothing was; "
            "free disk space, or give another --export_dir"
        ) from None
    logging.info("Checkpoint %s was exported to %s", saved.path, directory)


def _card(saved: Saved) -> str:
    """Returns the model card of a checkpoint."""
    from distmnist.checkpoint import model_card
    from distmnist.reporting import lines

    logged: list[lines.Line] = []
    with contextlib.suppress(InputError):  # metrics that are missing are left out
        logged = lines.read(RunDirectory(saved.config.log_dir).metrics)
    metrics = {
        line["split"]: line["metrics"]
        for line in logged
        if line["kind"] == "eval" and line["step"] == saved.step
    }
    software = [line for line in logged if line["kind"] == "start"]
    assert saved.checkpoint
    return model_card.text(
        saved.checkpoint.metadata,
        metrics,
        software[-1] if software else {},
        saved.raw_weights,
    )


@contextlib.contextmanager
def _whole(directory: str) -> Iterator[str]:
    """Yields a directory that becomes another one when all is written.

    TensorFlow Serving loads a version as soon as its directory is there.

    Args:
        directory: new or empty.

    Raises:
        OSError: it cannot be written.
    """
    final = os.path.realpath(directory)
    # What is mounted, such as a container's volume, cannot be replaced.
    parent = final if os.path.ismount(final) else os.path.dirname(final)
    os.makedirs(parent, exist_ok=True)
    temporary = os.path.join(parent, f".exporting-{os.getpid()}")
    os.mkdir(temporary)
    try:
        yield temporary
        if parent != final:
            os.rename(temporary, final)  # also over an empty directory
            return
        for name in sorted(os.listdir(temporary), key=_MODEL.__eq__):  # that last
            os.rename(os.path.join(temporary, name), os.path.join(final, name))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
