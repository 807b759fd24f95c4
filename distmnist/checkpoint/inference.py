"""Inference from a checkpoint: finds it, loads its network, classifies examples."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from distmnist.checkpoint import format
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.run_directory import RunDirectory
from distmnist.data import loading
from distmnist.data.dataset import Dataset, DatasetSpec
from distmnist.data.tensors import scale
from distmnist.distributed.cluster import Cluster
from distmnist.models import registry
from distmnist.models.network import Network


class Saved(NamedTuple):
    """A checkpoint's metadata.

    Attributes:
        path: without suffix.
        step: completed steps.
        config: configuration of the run, with its current log_dir.
        dataset: name, source and fingerprint of the data set.
    """

    path: str
    step: int
    config: Config
    dataset: dict[str, str]

    @property
    def spec(self) -> DatasetSpec:
        """Shapes and classes of the data set; the data are not read.

        Raises:
            InputError: the source of the data set is unknown.
        """
        return loading.find_source(self.config).spec


def find(log_dir: str, cluster: Cluster) -> Saved:
    """Finds the newest checkpoint of a run; all ranks must call it.

    Rank 0 alone reads: the others need no file system in common with it.

    Args:
        log_dir: run directory.
        cluster: the ranks.

    Raises:
        InputError: on all ranks, if there is none, or it cannot be read.
    """
    return cluster.run_on_root(lambda: _find(log_dir))


def _find(log_dir: str) -> Saved:
    try:
        path = format.latest(RunDirectory(log_dir))
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: cannot be read ({error.strerror}); name the "
            "directory of a run"
        ) from None
    if path is None:
        raise InputError(
            f"flag --log_dir={log_dir}: contains no checkpoint; name the directory of "
            "a run"
        )
    metadata = format.read_metadata(path)
    config = {**_known_fields(metadata["config"]), "log_dir": log_dir}
    return Saved(path, metadata["step"], Config(**config), metadata["dataset"])


def _known_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that this version's Config has."""
    known = {field.name for field in dataclasses.fields(Config)}
    return {name: value for name, value in values.items() if name in known}


def load(saved: Saved, cluster: Cluster) -> Network:
    """Creates the network of a checkpoint, with its values; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: the ranks.

    Raises:
        InputError: on all ranks, if there is no such network on one, or the
            checkpoint cannot be read.
    """
    config = saved.config
    network = cluster.run_collectively(
        lambda: registry.create(config.model, config, saved.spec)
    )
    variables = network.named_variables
    cluster.run_on_root(lambda: format.read(saved.path, variables))
    cluster.broadcast_variables(list(variables.values()))
    return network


def load_classifier(saved: Saved, cluster: Cluster) -> Classifier:
    """Creates the classifier of a checkpoint; all ranks must call it; see `load`."""
    return Classifier(load(saved, cluster), saved.spec)


def load_dataset(
    saved: Saved, cluster: Cluster, input_data_dir: str | None = None
) -> Dataset:
    """Loads the data set that a checkpoint was trained on; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: the ranks.
        input_data_dir: directory of the data files; None: where the run read them.

    Raises:
        UserError: on all ranks, if the data set is missing, or another one.
    """
    config = saved.config
    if input_data_dir:
        config = dataclasses.replace(config, input_data_dir=input_data_dir)
    name, fingerprint = saved.dataset["name"], saved.dataset["fingerprint"]
    return loading.load_matching(config, cluster, name, fingerprint, saved.path)


class Classifier(tf.Module):  # type: ignore[misc]
    """Classifies examples in the form of the data set."""

    def __init__(self, network: Network, spec: DatasetSpec):
        """Wraps a network.

        Args:
            network: its variables may continue to change.
            spec: shapes and classes of the data set.
        """
        super().__init__()
        self._network = network
        self._num_features = spec.num_features

    # The name of the input is that of the exported signature.
    @tf.function(input_signature=[tf.TensorSpec(None, tf.uint8, name="images")])
    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies examples.

        Args:
            images: features, uint8 [n, ...], in the spec's shape or flat.

        Returns:
            "class": int32 [n], the class of the highest probability.
            "probabilities": float32 [n, num_classes].
        """
        shape = [tf.shape(images)[0], self._num_features]  # fails on any other size
        logits = self._network(scale(tf.reshape(images, shape)))
        return {
            "class": tf.argmax(logits, axis=1, output_type=tf.int32),
            "probabilities": tf.nn.softmax(logits),
        }
