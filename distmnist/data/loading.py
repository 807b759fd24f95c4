"""Loads the data set of a run, identically on all ranks."""

from __future__ import annotations

import dataclasses
import functools
import inspect

from absl import logging

from distmnist.core import registry
from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.core.urls import is_url
from distmnist.data import residency
from distmnist.data.dataset import Dataset
from distmnist.data.sources import Source, path
from distmnist.data.sources.function import FunctionSource
from distmnist.data.sources.prepared import Prepared
from distmnist.distributed.cluster import Cluster


@functools.lru_cache(maxsize=1)
def find_source(config: Config) -> Source:
    """Returns the source that --dataset names; its data are not read.

    It is kept until the data are loaded, because some sources read them for the spec.

    Args:
        config: run configuration.

    Raises:
        UserError: there is no such source.
    """
    name = config.dataset
    if is_url(name):
        path.check_flags(name, "prepared data", (), config)
        return Prepared(name, config.local_dir)
    if registry.is_path(name, registry.DATASETS):
        return path.find(config)
    found = registry.load("dataset", name, registry.DATASETS)
    label = f"flag --dataset={name}"
    if isinstance(found, Dataset):
        return FunctionSource(label, lambda: found)
    if isinstance(found, type):
        found = found(config)
        if isinstance(found, Source):
            return found
    if not callable(found):
        raise InputError(
            f"{label}: is not a data set; give a function that returns one, or a class "
            "with spec, prepare and load (see distmnist.data.sources)"
        )
    parameters = inspect.signature(found).parameters.values()
    takes_config = any(p.default is p.empty or p.name == "config" for p in parameters)
    return FunctionSource(label, lambda: found(config) if takes_config else found())


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

    What is registered is not downloaded: the checkpoint may be a stranger's.

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
    # The suffix marks other data in the same file format.
    registered = name.removesuffix("-like")
    if config.dataset in registry.DATASETS and registered not in registry.DATASETS:
        raise on_all_ranks(
            InputError(
                f"{what} was trained on the data set {name}, an object given to "
                "distmnist.fit; name it by --dataset=PATH or "
                "--dataset=package.module:function"
            )
        )
    if config.dataset == "auto":  # which may choose another source today
        config = dataclasses.replace(config, dataset=registered)
    dataset = _load(config, cluster, prepare=config.dataset not in registry.DATASETS)
    if dataset.fingerprint != fingerprint:
        advice = (
            "give their --input_data_dir"
            if config.dataset in registry.DATASETS
            else "restore them, or give their --dataset"
        )
        raise on_all_ranks(
            InputError(
                f"{dataset.source}: not the data that {what} was trained on; {advice}"
            )
        )
    return dataset


def _load(config: Config, cluster: Cluster, prepare: bool = True) -> Dataset:
    """Loads a data set, and checks that all ranks have the same."""

    def find() -> Source:
        source = find_source(config)
        if prepare and cluster.local_rank == 0:
            source.prepare()
        return source

    source = cluster.run_collectively(find)
    find_source.cache_clear()
    dataset = cluster.run_collectively(source.load)
    return settle(dataset, cluster, config)


def settle(dataset: Dataset, cluster: Cluster, config: Config) -> Dataset:
    """Checks that all ranks have the same data set; all ranks must call it.

    Returns:
        The data set; in memory, if it was not and the configuration has it there.

    Raises:
        InputError: on all ranks, if they have not.
    """
    cluster.assert_consistent(
        {"the data set": _describe(dataset)}, "give all hosts the same files"
    )
    return residency.settle(dataset, cluster, config.data_residency)


def _describe(dataset: Dataset) -> str:
    return f"{dataset.name}, {dataset.source}, SHA-256 {dataset.fingerprint[:16]}"
