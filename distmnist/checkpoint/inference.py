"""A trained network: from its checkpoint to what it says of an image."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from distmnist.checkpoint import manager
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.distributed.cluster import Cluster
from distmnist.models import model, registry
from distmnist.models.model import Network


class Saved(NamedTuple):
    """A checkpoint, as far as its metadata tell.

    Attributes:
        path: without suffix.
        step: completed steps.
        config: of the run.
        dataset: name, source and fingerprint of the data set.
    """

    path: str
    step: int
    config: Config
    dataset: dict[str, str]


def find(log_dir: str, cluster: Cluster) -> Saved:
    """Finds the newest checkpoint of a run; all ranks must call it.

    Rank 0 alone reads: the others need no disk in common with it.

    Raises:
        InputError: on all ranks, if there is none, or it can't be read.
    """
    return cluster.broadcast(
        cluster.together(lambda: _find(log_dir) if cluster.rank == 0 else None)
    )  # type: ignore[return-value]


def _find(log_dir: str) -> Saved:
    try:
        path = manager.latest(log_dir)
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: can't be read ({error.strerror}); name the "
            "directory of a run"
        ) from None
    if path is None:
        raise InputError(
            f"flag --log_dir={log_dir}: there is no checkpoint; name the directory of "
            "a run"
        )
    metadata = manager.read_metadata(path)
    config = {**_config(metadata["config"]), "log_dir": log_dir}
    return Saved(path, metadata["step"], Config(**config), metadata["dataset"])


def _config(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a Config that went through JSON."""
    known = {field.name for field in dataclasses.fields(Config)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in known  # this version's
    }


def load(saved: Saved, cluster: Cluster) -> Network:
    """Creates the network of a checkpoint, with its values; all ranks must call it.

    Raises:
        InputError: on all ranks, if there is no such network on one, or the
            checkpoint can't be read.
    """
    network = cluster.together(lambda: registry.find(saved.config.model))(saved.config)
    variables = network.named_variables
    cluster.together(
        lambda: manager.read(saved.path, variables) if cluster.rank == 0 else None
    )
    cluster.broadcast_variables(list(variables.values()))
    return network


class Classifier(tf.Module):  # type: ignore[misc]
    """Says which digit an image shows."""

    def __init__(self, network: Network):
        """Takes a network as it is.

        Args:
            network: its variables may go on changing.
        """
        super().__init__()
        self._network = network

    @tf.function(input_signature=[tf.TensorSpec(None, tf.uint8, name="images")])
    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies images.

        Args:
            images: uint8 [n, 28, 28] or [n, 784], white (255) on black.

        Returns:
            "class": int32 [n], the digit of the highest probability.
            "probabilities": float32 [n, 10], of each digit.
        """
        images = tf.reshape(images, [-1, model.IMAGE_PIXELS])
        logits = self._network(model.scale_pixels(images))
        return {
            "class": tf.argmax(logits, axis=1, output_type=tf.int32),
            "probabilities": tf.nn.softmax(logits),
        }
