"""A data set that is to be written, of any source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distmnist.data.dataset import Dataset, Examples
from distmnist.data.spec import DatasetSpec


class Unprepared(NamedTuple):
    """A data set that is to be written.

    Attributes:
        name: short name, as in `Dataset.name`.
        source: where the examples come from, in words.
        origin: what identifies them, in hex; it changes whenever they may have.
        spec: shapes and classes of the examples.
        splits: splits by name.
        is_slow: whether reading an example is worth a process of its own.
    """

    name: str
    source: str
    origin: str
    spec: DatasetSpec
    splits: Mapping[str, Examples]
    is_slow: bool = False


def of_dataset(dataset: Dataset) -> Unprepared:
    """Returns a data set that was loaded."""
    return Unprepared(
        dataset.name,
        dataset.source,
        dataset.fingerprint,
        dataset.spec,
        dataset.splits,
    )
