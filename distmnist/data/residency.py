"""Where prepared data are during a run: in memory, or on disk and read ahead."""

from __future__ import annotations

import dataclasses

import numpy as np

from distmnist.data.dataset import Dataset, Split, StreamedSplit
from distmnist.data.read_ahead import with_file
from distmnist.distributed import memory
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.watchdog import watchdog

# Share of the available memory that the data of all processes of a host may take.
_SHARE = 0.5


def settle(dataset: Dataset, cluster: Cluster, residency: str) -> Dataset:
    """Reads streamed splits into memory, if they belong there; all ranks must call it.

    All ranks decide alike: blocks of steps, and so calls of collectives, are others.

    Args:
        dataset: as it was loaded.
        cluster: the ranks.
        residency: one of `data_options.RESIDENCIES`.

    Returns:
        The data set, whose splits are all in memory, or as they were.

    Raises:
        UserError: on all ranks, if one cannot read them.
    """
    if all(isinstance(split, Split) for split in dataset.splits.values()):
        return dataset
    size = dataset.spec.example_bytes * sum(s.size for s in dataset.splits.values())
    fits = size * cluster.local_size <= memory.available() * _SHARE
    streams = residency == "stream" or (residency == "auto" and not fits)
    (any_streams,) = cluster.allreduce_max([float(streams)])
    if any_streams:
        return dataset
    return cluster.run_collectively(lambda: _read(dataset))


def _read(dataset: Dataset) -> Dataset:
    """Returns the same data set in memory."""
    with watchdog.phase(with_file("reading the data set")):
        splits: dict[str, Split | StreamedSplit] = {
            name: each if isinstance(each, Split) else each.take(np.arange(each.size))
            for name, each in dataset.splits.items()
        }
    return dataclasses.replace(dataset, **splits)  # type: ignore[arg-type]
