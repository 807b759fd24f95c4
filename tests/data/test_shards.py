"""Shards: what is read is what was written, or one line says where it is not."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError, RunError
from distmnist.core.whole_files import hidden
from distmnist.data import residency
from distmnist.data.dataset import SPLITS, Dataset, Split
from distmnist.data.read_ahead import with_file
from distmnist.data.shards import examples, index, parallel, preparation, shard_file
from distmnist.data.shards.preparation import Preparation
from distmnist.data.shards.reader import ShardedSplit
from distmnist.data.sources.prepared import Prepared, open_prepared
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster

COMPRESSIONS = index.COMPRESSIONS


def dataset(size: int = 40, seed: int = 0, **spec: Any) -> Dataset:
    """Returns random examples; a quarter of them each for validation and test."""
    fields = {"feature_shape": (3, 2, 1), "num_classes": 5, **spec}
    random, found = np.random.RandomState(seed), DatasetSpec(**fields)
    features = random.randint(0, 200, (size, *found.feature_shape))
    targets = random.randint(0, 5, (size, *found.target_shape))
    arrays = features.astype(found.feature_dtype), targets.astype(found.target_dtype)
    quarter = size // 4
    train, validation, test = (
        Split(*(array[part] for array in arrays))
        for part in np.split(np.arange(size), [size - 2 * quarter, size - quarter])
    )
    return Dataset("random", "a test", f"{seed:064}", found, train, validation, test)


def prepare(data: Dataset, directory: Path, **options: Any) -> None:
    """Writes shards of three examples."""
    writing = Preparation(directory, examples.of_dataset(data), **options)
    parts = writing.begin() or []
    for written in parallel.write(writing, parts, 1, lambda _: None):
        writing.note(written)
    writing.finish()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes shards small, and waits short."""
    for limit in ("_SMALLEST", "_LARGEST"):
        monkeypatch.setattr(preparation, limit, 30)
    monkeypatch.setattr(preparation, "_MOST", 10**6)
    monkeypatch.setattr(preparation, "_CHUNK_BYTES", 20)
    monkeypatch.setattr(shard_file, "_WAITS", (0.0, 0.0))


SPECS = st.fixed_dictionaries(
    {
        "feature_shape": st.lists(st.integers(1, 3), max_size=3).map(tuple),
        "feature_dtype": st.sampled_from(["uint8", "int32", "float32"]),
        "num_classes": st.sampled_from([5, None]),
        "target_shape": st.lists(st.integers(1, 2), max_size=2).map(tuple),
    }
)


@given(st.data())
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    written = dataset(data.draw(st.integers(4, 30)), **data.draw(SPECS))
    directory = tmp_path_factory.mktemp("shards") / "data"
    prepare(written, directory, compression=data.draw(st.sampled_from(COMPRESSIONS)))
    found = index.read(directory)
    assert found.spec == written.spec
    for name in SPLITS:
        split = ShardedSplit(directory, found, name, data.draw(st.integers(1, 3)))
        expected = written.splits[name]
        assert split.size == expected.size
        drawn = data.draw(st.lists(st.integers(0, split.size - 1), max_size=50))
        indices = np.array(drawn, np.int64)
        split.expect(indices)
        for mine, theirs in zip(split.take(indices), expected.take(indices)):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("place", ["memory", "stream"])
def test_an_opened_data_set_has_the_same_examples(tmp_path: Path, place: str) -> None:
    written = dataset()
    prepare(written, tmp_path / "data")
    found = open_prepared(tmp_path / "data", augment=print)
    found = residency.settle(found, Cluster(), place)
    assert isinstance(found.train, Split) == (place == "memory")
    assert found.augment is print
    for name in SPLITS:
        everything = np.arange(written.splits[name].size)
        for mine, theirs in zip(
            found.splits[name].take(everything), written.splits[name].take(everything)
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_the_fingerprint_is_of_the_examples(tmp_path: Path) -> None:
    written, fingerprints = dataset(), set()
    for name, data in (("a", written), ("b", written), ("c", dataset(seed=1))):
        prepare(data, tmp_path / name, compression="zlib" if name == "b" else "none")
        fingerprints.add(open_prepared(tmp_path / name).fingerprint)
    assert len(fingerprints) == 2


def read_all(directory: Path) -> list[Split]:
    """Opens a data set, and reads its training examples one after the other."""
    train = open_prepared(directory).train
    return [train.take(np.array([number])) for number in range(train.size)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_byte_is_told_with_its_record(
    tmp_path: Path, compression: str
) -> None:
    prepare(dataset(), tmp_path / "data", compression=compression)
    path = tmp_path / "data/train-00002.tfrecord"
    content = path.read_bytes()
    _, shard, *_ = index.read(path.parent).train
    records = content[: -index.seal_bytes(compression, shard.examples)]
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            read_all(path.parent)
        assert str(caught.value).startswith(f"{path}: ")
        assert ("record " in str(caught.value)) == (place < len(records))
        assert "prepare it again" in str(caught.value)


def test_other_shards_are_told(tmp_path: Path) -> None:
    for seed in (0, 1):
        prepare(dataset(seed=seed), tmp_path / str(seed))
    path = tmp_path / "0/train-00001.tfrecord"
    content = path.read_bytes()
    cases: dict[str, bytes | None] = {
        "is of other data": (tmp_path / "1" / path.name).read_bytes(),
        f"has {len(content) - 1} bytes, not {len(content)}": content[:-1],
        f"has {len(content) + 1} bytes": content + b"\0",
        "is missing": None,
    }
    for message, other in cases.items():
        path.unlink(missing_ok=True)
        if other is not None:
            path.write_bytes(other)
        with pytest.raises(InputError, match=message) as caught:
            open_prepared(path.parent)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("times", [2, -1])
def test_a_read_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    prepare(dataset(400), tmp_path / "data")
    expected = read_all(tmp_path / "data")
    train = open_prepared(tmp_path / "data").train
    read, left = os.preadv, 0

    def preadv(*arguments: Any) -> int:
        nonlocal left
        if left:
            left -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", preadv)
    assert train.size == 200
    for number in range(train.size):
        left = times
        if times > 0:
            (example,) = train.take(np.array([number])).features
            np.testing.assert_array_equal(example, expected[number].features[0])
            assert not left
            continue
        with pytest.raises(RunError) as caught:
            train.take(np.array([number]))
        shard, record = divmod(number, 3)
        path = tmp_path / f"data/train-{shard:05}.tfrecord"
        assert str(caught.value).startswith(f"{path}: record {record} (from 0): cannot")
        assert "(Input/output error, for 0 s)" in str(caught.value)


def test_what_is_waited_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(dataset(), tmp_path / "data")
    phase, seen = with_file("waiting for examples to be read"), set[str]()
    for name in ("pread", "preadv"):
        read = getattr(os, name)

        def watched(*arguments: Any, read: Callable[..., Any] = read) -> Any:
            seen.add(phase())
            return read(*arguments)

        monkeypatch.setattr(os, name, watched)
    train = open_prepared(tmp_path / "data").train
    opened = {f"{split}-00000" for split in SPLITS}
    assert {text.partition(".")[0].rpartition("/")[2] for text in seen} >= opened
    seen.clear()
    train.take(np.array([4]))
    path = tmp_path / "data/train-00001.tfrecord"
    assert seen == {f"waiting for examples to be read from {path}"}
    assert phase() == "waiting for examples to be read"


def test_a_local_copy_is_made_once_and_read(tmp_path: Path) -> None:
    prepare(dataset(), tmp_path / "data")
    for _ in range(2):
        source = Prepared(tmp_path / "data", str(tmp_path / "local"))
        source.prepare()
        found = source.load()
        everything = np.arange(found.train.size)
        for mine, theirs in zip(
            found.train.take(everything), dataset().train.take(everything)
        ):
            np.testing.assert_array_equal(mine, theirs)
        for path in (tmp_path / "data").glob("train-*"):
            path.unlink()  # of the copy, nothing is missing
    (copy,) = (tmp_path / "local").iterdir()
    assert not list(copy.glob(".*"))
    (copy / "train-00001.tfrecord").write_bytes(b"short")
    with pytest.raises(RunError, match="cannot be copied to") as caught:
        source.prepare()
    assert "train-00001.tfrecord: cannot" in str(caught.value)


def test_a_damaged_record_is_not_copied(tmp_path: Path) -> None:
    prepare(dataset(), tmp_path / "data")
    source, name = tmp_path / "data", "train-00001.tfrecord"
    local_dir = tmp_path / "local"
    content = (source / name).read_bytes()
    flipped = bytearray(content)
    flipped[20] ^= 1
    (source / name).write_bytes(flipped)
    with pytest.raises(InputError) as caught:
        open_prepared(source, local_dir=local_dir)
    assert str(caught.value) == (
        f"{source / name}: record 0 (from 0): is damaged; restore the data set, or "
        "prepare it again"
    )
    (source / name).write_bytes(content)
    open_prepared(source, local_dir=local_dir)
    (copy,) = local_dir.iterdir()
    (copy / name).write_bytes(flipped)  # later, on this disk
    train = open_prepared(source, local_dir=local_dir).train
    with pytest.raises(InputError, match="damaged; delete the file, and it is copied"):
        train.take(np.array([3]))
    (copy / name).unlink()
    open_prepared(source, local_dir=local_dir).train.take(np.array([3]))


def test_what_kills_left_of_copies_is_removed_after_a_day(tmp_path: Path) -> None:
    prepare(dataset(), tmp_path / "data")
    open_prepared(tmp_path / "data", local_dir=tmp_path / "local")
    (copy,) = (tmp_path / "local").iterdir()
    left = [hidden(copy / "train-00001.tfrecord") for _ in range(2)]
    left += [hidden(tmp_path / "local" / index.NAME) for _ in range(2)]
    for path, age in zip(left, (23, 25, 23, 25)):
        path.touch()
        os.utime(path, (time.time() - age * 3600,) * 2)
    open_prepared(tmp_path / "data", local_dir=tmp_path / "local")
    assert [path.exists() for path in left] == [True, False, True, False]


@given(st.data())
def test_a_forged_index_is_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("shards")
    prepare(dataset(12), directory / "data")
    path = directory / "data" / index.NAME
    content, written = json.loads(path.read_bytes()), index.read(path.parent)
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key]:
            break
        if data.draw(st.booleans()):
            break
        place = place[key]
    values = st.none() | st.integers() | st.floats() | st.text() | st.booleans()
    forged = data.draw(values | st.lists(values) | st.just("../x"))
    place[key] = forged
    path.write_text(json.dumps(content))
    try:
        opened = open_prepared(directory / "data")
        opened.train.take(np.arange(opened.train.size))
    except InputError as error:
        assert "\n" not in str(error)
    else:  # a name, or what the values mean
        original = ShardedSplit(directory / "data", written, "train")
        assert opened.train.size == original.size
        assert key in ("name", "source", "origin") or place is not content


class Host(Cluster):
    """A rank of two on this host, whose other one decides as it is told."""

    local_size = 2

    def __init__(self, other: float):
        self.other = other

    def allreduce_max(self, values: Sequence[float]) -> list[float]:
        return [max(value, self.other) for value in values]


@pytest.mark.parametrize(
    ("place", "available", "other", "streams"),
    [
        ("auto", 8, 0, False),
        ("auto", 7, 0, True),
        ("auto", 8, 1, True),
        ("memory", 0, 0, False),
        ("stream", 10**6, 0, True),
    ],
)
def test_all_ranks_decide_alike(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    available: int,
    other: float,
    streams: bool,
) -> None:
    prepare(dataset(), tmp_path / "data")
    found = open_prepared(tmp_path / "data")
    size = 40 * found.spec.example_bytes  # each of two ranks may take a quarter
    monkeypatch.setattr(residency.memory, "available", lambda: available * size // 2)
    settled = residency.settle(found, Host(other), place)
    kinds = {isinstance(split, Split) for split in settled.splits.values()}
    assert kinds == {not streams}
