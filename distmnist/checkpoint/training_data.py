"""The data set that a checkpoint was trained on, found and loaded again."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from distmnist.checkpoint.inference import Saved
from distmnist.core import registry
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.core.registry import DATASETS
from distmnist.core.urls import is_url
from distmnist.data import loading
from distmnist.data.dataset import Dataset
from distmnist.data.shards import local_copy
from distmnist.distributed.cluster import Cluster


def load(
    saved: Saved,
    cluster: Cluster,
    input_data_dir: str | None = None,
    dataset: str | None = None,
    local_dir: str = "",
) -> Dataset:
    """Loads the data set that a checkpoint was trained on; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: the ranks.
        input_data_dir: directory of the data files; None: where the run read them.
        dataset: replaces the run's --dataset, for data that are elsewhere now.
        local_dir: where prepared data are copied to; "": nowhere.

    Raises:
        UserError: on all ranks, if the data set is missing, or another one.
    """
    config = saved.config
    if dataset is None and is_url(config.dataset):
        dataset, local_dir = _downloaded(saved, cluster, local_dir), ""
    if dataset is None and registry.is_code(config.dataset, DATASETS):
        raise on_all_ranks(
            InputError(
                f"{saved.path} names {config.dataset!r} as its data set; code is "
                "imported only if you name it: give "
                f"--dataset={config.dataset}, if you trust it"
            )
        )
    config = dataclasses.replace(
        config,
        input_data_dir=input_data_dir or _path(config.input_data_dir, saved),
        dataset=dataset or _path(config.dataset, saved),
        # Not that of the run that was trained: a stranger's copies nothing.
        local_dir=local_dir,
        data_residency="auto",
    )
    name, fingerprint = saved.dataset["name"], saved.dataset["fingerprint"]
    return loading.load_matching(config, cluster, name, fingerprint, saved.path)


def _downloaded(saved: Saved, cluster: Cluster, local_dir: str) -> str:
    """Returns the copy of the data set at a URL that only a checkpoint names.

    Raises:
        InputError: on all ranks, if there is none on a host.
    """
    url, places = saved.config.dataset, [local_dir, saved.config.local_dir]

    def find() -> str:
        for place in filter(None, places):
            local = Path(_path(place, saved))
            if found := local_copy.find(local, saved.dataset["fingerprint"]):
                return str(found)
        raise InputError(
            f"{saved.path} names {url} as its data set, which is downloaded only if "
            f"you name it: give --dataset={url} --local_dir=DIRECTORY, if you trust it"
        )

    return cluster.run_collectively(find)


def _path(path: str, saved: Saved) -> str:
    """Returns a path of a run, which may have been started in another directory."""
    if path in DATASETS or os.path.lexists(path):
        return path
    there = os.path.join(saved.directory, path)
    return there if os.path.lexists(there) else path
