"""The index of a prepared data set, `prepared.json`, and the schema it has to meet."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from distmnist.core.errors import InputError
from distmnist.core.whole_files import whole_file
from distmnist.data.dataset import SPLITS
from distmnist.data.shards import records
from distmnist.data.spec import DatasetSpec, check_classes, check_sizes

NAME = "prepared.json"

COMPRESSIONS = ("none", "zlib")

DIGEST = 32
"""Bytes of a shard's digest, with which the data of its seal begin."""

_Count = Annotated[int, msgspec.Meta(ge=1, lt=2**60)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+-\d{5,}\.tfrecord$")]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Shard(msgspec.Struct, frozen=True):
    """A file of examples.

    Attributes:
        file: its name.
        examples: their number.
        bytes: size of the file, with its seal.
        digest: SHA-256 of the data of all records, in hex.
    """

    file: _Name
    examples: _Count
    bytes: _Count
    digest: _Hex


class Index(msgspec.Struct, frozen=True):
    """A prepared data set.

    Attributes:
        format: version of the format.
        name: short name, as in `Dataset.name`.
        source: where the examples came from, in words.
        origin: SHA-256 of what identifies the source, and of the settings, in hex.
        spec: shapes and classes of the examples.
        compression: of the data of a record, one of COMPRESSIONS.
        train: shards of the training split, in order.
        validation: of the validation split.
        test: of the test split.
    """

    format: Literal[1]
    name: str
    source: str
    origin: _Hex
    spec: DatasetSpec
    compression: Literal["none", "zlib"]
    train: tuple[Shard, ...]
    validation: tuple[Shard, ...]
    test: tuple[Shard, ...]

    @property
    def splits(self) -> dict[str, tuple[Shard, ...]]:
        """The shards of each split."""
        return {name: getattr(self, name) for name in SPLITS}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the examples and their spec, in hex; however they are stored."""
        shards = [
            [[shard.examples, shard.digest] for shard in shards]
            for shards in self.splits.values()
        ]
        text = json.dumps([self.spec.to_json(), shards], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def seal_bytes(compression: str, num_examples: int) -> int:
    """Returns the bytes of a shard's seal: a record whose data are digest and sizes."""
    sizes = 4 * num_examples if compression != "none" else 0
    return records.OVERHEAD + DIGEST + sizes


def is_prepared(directory: Path) -> bool:
    """Returns whether a directory has a prepared data set."""
    return (directory / NAME).is_file()


def read(directory: Path) -> Index:
    """Reads the index of a prepared data set.

    Raises:
        InputError: it is missing, or does not meet the schema.
        OSError: it cannot be read.
    """
    try:
        content = (directory / NAME).read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{directory}: has no {NAME}; prepare the data set to its end, with the "
            "same command"
        ) from None
    return parse(content, str(directory / NAME))


def parse(content: bytes, where: str) -> Index:
    """Returns the index in the content of its file.

    Args:
        content: of the file.
        where: its path or URL, for messages.

    Raises:
        InputError: it does not meet the schema.
    """
    try:
        values = json.loads(content)
        check_classes(values)
        index = msgspec.convert(values, Index)
        check_sizes(index.spec)
        _check_sizes(index)
    except (ValueError, OverflowError, RecursionError, InputError) as error:
        raise InputError(
            f"{where}: no valid index ({str(error)[:200]}); prepare the data set again"
        ) from None
    return index


def _check_sizes(index: Index) -> None:
    """Checks that shards have the sizes that their examples take.

    Raises:
        ValueError: one has not.
    """
    compressed = index.compression != "none"
    data = 0 if compressed else index.spec.example_bytes
    for name, shards in index.splits.items():
        if not shards:
            raise ValueError(f"the {name} split has no shards")
        for shard in shards:
            least = shard.examples * (records.OVERHEAD + data)
            least += seal_bytes(index.compression, shard.examples)
            if shard.bytes < least or (shard.bytes > least and not compressed):
                raise ValueError(f"{shard.file} has an impossible size")


def write(directory: Path, index: Index) -> None:
    """Writes the index of a prepared data set: whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(directory / NAME) as hidden:
        hidden.write_text(json.dumps(msgspec.to_builtins(index), indent=1))
