"""Sources of data sets: one class for each value of --dataset.

A source is created from the run's `Config`, which costs nothing; its methods do the
work. To add one, write its class and register it in `core.registry.DATASETS`. Sources
must not import TensorFlow: they are used before its devices are chosen.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from distmnist.data.dataset import Dataset
from distmnist.data.spec import DatasetSpec


@runtime_checkable
class Source(Protocol):
    """Prepares and loads one data set."""

    @property
    def spec(self) -> DatasetSpec:
        """Shapes and classes of the examples; known without reading any."""

    def prepare(self) -> None:
        """Makes the data available on this host, downloading them if necessary.

        Called by one process per host, before any process calls `load`.

        Raises:
            InputError: the data are unavailable or invalid.
            RunError: the disk is full or broken.
        """

    def load(self) -> Dataset:
        """Reads or generates the examples; never downloads or writes.

        Called by all ranks, and returns the same on each.

        Raises:
            InputError: the data are missing or invalid.
        """
