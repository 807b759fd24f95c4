"""Loads the data set of a run, identically on all ranks."""

from __future__ import annotations

import dataclasses

from absl import logging

from distmnist.core import registry
from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.data.dataset import Dataset
from distmnist.data.sources import Source
from distmnist.distributed.cluster import Cluster


def find_source(config: Config) -> Source:
    """Returns the source that --dataset names, without reading any data.

    Args:
        config: run configuration.

    Raises:
        InputError: there is no such source.
    """
    name = config.dataset
    create = registry.load("dataset", name, registry.DATASETS)
    source = create(config) if callable(create) else create
    if not isinstance(source, Source):
        raise InputError(
            f"flag --dataset={name}: is not a source of data; give a class that takes "
            "a Config and has spec, prepare and load (see distmnist.data.sources)"
        )
    return source


def load(config: Config, cluster: Cluster) -> Dataset:
    """Loads the data set of a configuration; all ranks must call it.

    On each host one rank downloads what is missing, while the others wait.

    Args:
        config: run configuration, the same on all ranks.
        cluster: process topology and collectives.

    Raises:
        UserError: on all ranks, if data are missing or invalid on one, or differ
            between ranks.
    """
    dataset = _load(config, cluster)
    logging.info("Data set: %s", _describe(dataset))
    return dataset


def load_matching(
    config: Config, cluster: Cluster, name: str, fingerprint: str, what: str
) -> Dataset:
    """Loads the data set that a checkpoint was trained on; all ranks must call it.

    Args:
        config: configuration of the run that wrote the checkpoint, with the
            --input_data_dir to read from.
        cluster: process topology and collectives.
        name: name of the data set, as in `Dataset.name`.
        fingerprint: its fingerprint.
        what: the checkpoint, for messages.

    Raises:
        UserError: on all ranks, if the data set is missing or has another fingerprint.
    """
    if config.dataset == "auto":  # which may choose another source today
        # The suffix marks other data in the same file format.
        config = dataclasses.replace(config, dataset=name.removesuffix("-like"))
    dataset = _load(config, cluster)
    if dataset.fingerprint != fingerprint:
        raise on_all_ranks(
            InputError(
                f"{dataset.source}: not the data that {what} was trained on; give "
                "their --input_data_dir"
            )
        )
    return dataset


def _load(config: Config, cluster: Cluster) -> Dataset:
    """Loads a data set, and checks that all ranks have the same."""

    def prepare() -> Source:
        source = find_source(config)
        if cluster.local_rank == 0:
            source.prepare()
        return source

    source = cluster.run_collectively(prepare)
    dataset = cluster.run_collectively(source.load)
    cluster.assert_consistent(
        {"the data set": _describe(dataset)}, "give all hosts the same files"
    )
    return dataset


def _describe(dataset: Dataset) -> str:
    return f"{dataset.name}, {dataset.source}, SHA-256 {dataset.fingerprint[:16]}"
