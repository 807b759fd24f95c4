"""Input pipelines on prepared images: each a function that yields sizes of batches.

All read the same files in random order, and hand over uint8 images with their labels:
distmnist in a new permutation of all examples each epoch; the others as their
documentation advises: tf.data with a shuffle buffer, a DataLoader with its sampler.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distmnist.data.shards import index, records
from distmnist.distributed import cores

BATCH = 64
_BUFFER = 2048  # examples of tf.data's shuffle buffer


def distmnist(directory: Path, rank: int, size: int) -> Iterator[int]:
    """The streaming pipeline, up to TensorFlow's tensors."""
    from distmnist import open_prepared
    from distmnist.data.streaming import StreamingPipeline

    data = open_prepared(directory)
    assert not isinstance(data.train, tuple)
    pipeline = StreamingPipeline(data.train, data.spec, BATCH, 0, rank, size)
    for block in pipeline.blocks(0, itertools.count(10, 10)):
        yield block.num_steps * BATCH


def tf_data(directory: Path, rank: int, size: int) -> Iterator[int]:
    """tf.data on the shards, as its guide on performance advises."""
    import tensorflow as tf

    found = index.read(directory)
    spec = found.spec
    files = [str(directory / shard.file) for shard in found.train]

    def is_example(record: Any) -> Any:
        return tf.strings.length(record) == spec.example_bytes  # and no seal

    def decode(batch: Any) -> Any:
        raw = tf.io.decode_raw(batch, tf.uint8, little_endian=True)
        features, labels = tf.split(raw, [spec.feature_bytes, spec.target_bytes], 1)
        labels = tf.bitcast(labels, tf.int32)
        return tf.reshape(features, [-1, *spec.feature_shape]), labels

    tune = tf.data.AUTOTUNE
    pipeline = (
        tf.data.Dataset.from_tensor_slices(files[rank::size])
        .shuffle(len(files))
        .repeat()
        .interleave(
            tf.data.TFRecordDataset,
            cycle_length=4,
            num_parallel_calls=tune,
            deterministic=False,
        )
        .filter(is_example)
        .shuffle(_BUFFER)
        .batch(BATCH, drop_remainder=True)
        .map(decode, num_parallel_calls=tune)
        .prefetch(tune)
    )
    for features, _ in pipeline:
        yield features.shape[0]


class Shards:
    """The training examples, for PyTorch: `shards[i]` is an image and its label."""

    def __init__(self, directory: Path):
        """Opens nothing yet: workers are other processes."""
        found = index.read(directory)
        self.spec = found.spec
        self.files = [directory / shard.file for shard in found.train]
        self.ends = np.cumsum([shard.examples for shard in found.train])

    def __len__(self) -> int:
        """Returns the number of examples."""
        return int(self.ends[-1])

    @functools.lru_cache(maxsize=512)  # noqa: B019 (as long as the worker)
    def _open(self, number: int) -> int:
        return os.open(self.files[number], os.O_RDONLY)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """Returns an example."""
        import torch

        shard = int(np.searchsorted(self.ends, number, side="right"))
        first = int(self.ends[shard - 1]) if shard else 0
        size = self.spec.example_bytes
        begin = (number - first) * (size + records.OVERHEAD) + records.HEADER
        data = bytearray(os.pread(self._open(shard), size, begin))
        image = torch.frombuffer(data, dtype=torch.uint8, count=self.spec.feature_bytes)
        label = int.from_bytes(data[self.spec.feature_bytes :], "little")
        return image.reshape(self.spec.feature_shape), label


def torch_loader(directory: Path, rank: int, size: int) -> Iterator[int]:
    """PyTorch's DataLoader, with a worker process for each core of the rank."""
    from torch.utils.data import DataLoader
    from torch.utils.data.distributed import DistributedSampler

    shards: Any = Shards(directory)
    sampler = DistributedSampler(shards, size, rank, shuffle=True, drop_last=True)
    loader = DataLoader(
        shards,
        BATCH,
        sampler=sampler,
        num_workers=max(1, cores.available() // size),
        persistent_workers=True,
        drop_last=True,
    )
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for images, _ in loader:
            yield len(images)


def grain(directory: Path, rank: int, size: int) -> Iterator[int]:
    """Grain's DataLoader on ArrayRecord files of the same records."""
    import grain.python as pygrain

    spec = index.read(directory).spec
    files = sorted(map(str, array_records(directory).glob("*.array_record")))

    class Decode(pygrain.MapTransform):
        def map(self, record: bytes) -> tuple[Any, Any]:
            features = np.frombuffer(record, np.uint8, spec.feature_bytes)
            label = np.frombuffer(record, np.int32, offset=spec.feature_bytes)
            return features.reshape(spec.feature_shape), label

    source = pygrain.ArrayRecordDataSource(files)
    loader = pygrain.DataLoader(
        data_source=source,
        sampler=pygrain.IndexSampler(
            len(source),
            pygrain.ShardOptions(rank, size, drop_remainder=True),
            shuffle=True,
            seed=0,
        ),
        operations=[Decode(), pygrain.Batch(BATCH, drop_remainder=True)],
        worker_count=max(1, cores.available() // size),
    )
    for images, _ in loader:
        yield len(images)


def array_records(directory: Path) -> Path:
    """Returns a directory of ArrayRecord files of the training examples."""
    target = directory.with_name(directory.name + ".array_record")
    if target.exists():
        return target
    from array_record.python.array_record_module import ArrayRecordWriter

    hidden = target.with_suffix(".partial")
    hidden.mkdir(exist_ok=True)
    found = index.read(directory)
    size = found.spec.example_bytes
    for shard in found.train:
        path = hidden / f"{shard.file}.array_record"
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        with (directory / shard.file).open("rb") as file:
            for _ in range(shard.examples):
                record = file.read(size + records.OVERHEAD)
                writer.write(record[records.HEADER : -records.FOOTER])
        writer.close()
    hidden.rename(target)
    return target


PIPELINES: dict[str, tuple[str, Callable[[Path, int, int], Iterator[int]]]] = {
    "distmnist": ("tensorflow", distmnist),
    "tf_data": ("tensorflow", tf_data),
    "torch": ("torch", torch_loader),
    "grain": ("grain", grain),
}
"""Package that is needed, and the pipeline, by name."""
