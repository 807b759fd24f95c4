"""The data of a run: loaded on all ranks alike, and put where it is computed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from distmnist.checkpoint.inference import Saved
from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.data import datasets
from distmnist.data.datasets import Dataset, Split
from distmnist.distributed.cluster import Cluster


def load(config: Config, cluster: Cluster) -> Dataset:
    """Loads the data set of a configuration; all ranks must call it.

    On each host one rank downloads what is missing, while the others wait.

    Raises:
        UserError: on all ranks, if data are missing or bad on one, or differ.
    """
    dataset = _load(config, cluster)
    logging.info("Data set: %s", _describe(dataset))
    return dataset


def load_for(saved: Saved, cluster: Cluster, input_data_dir: str | None) -> Dataset:
    """Loads the data set that a checkpoint was trained on; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: of the ranks.
        input_data_dir: of MNIST's files; None: where the run had them.

    Raises:
        UserError: on all ranks, if it is not there, or is another one.
    """
    config, trained_on = saved.config, saved.dataset
    config = dataclasses.replace(
        config,
        dataset=trained_on["name"].removesuffix("-like"),  # a flag again
        input_data_dir=input_data_dir or config.input_data_dir,
    )
    dataset = _load(config, cluster)
    if dataset.fingerprint != trained_on["fingerprint"]:
        raise on_all_ranks(
            InputError(
                f"{dataset.source}: not the data that {saved.path} was trained on; "
                "give their --input_data_dir"
            )
        )
    return dataset


def _load(config: Config, cluster: Cluster) -> Dataset:
    cluster.together(
        lambda: (
            datasets.prepare(
                config.dataset, config.input_data_dir, config.mnist_mirrors
            )
            if cluster.local_rank == 0
            else None
        )
    )
    dataset = cluster.together(
        lambda: datasets.load(
            config.dataset, config.input_data_dir, config.fake_sizes, config.seed
        )
    )
    cluster.agree({"the data set": _describe(dataset)}, "give all hosts the same files")
    return dataset


def _describe(dataset: Dataset) -> str:
    return f"{dataset.name}, {dataset.source}, SHA-256 {dataset.fingerprint[:16]}"


def to_tensors(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Returns splits by name, where TensorFlow computes."""
    return {
        name: Split(tf.constant(split.images), tf.constant(split.labels))
        for name, split in splits.items()
    }
