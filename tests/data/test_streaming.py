"""The streaming pipeline: what the resident one gives, whatever pieces it reads."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import RunError
from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.pipeline import Block, InputPipeline
from distmnist.data.read_ahead import read_ahead
from distmnist.data.spec import DatasetSpec
from distmnist.data.streaming import StreamingPipeline, chunks, create_pipeline
from distmnist.data.tensors import to_tensors

SIZE = 23
SPEC = DatasetSpec((2,), SIZE)


class Streamed:
    """A split that counts what is read, and may fail."""

    def __init__(self, bad: int = -1) -> None:
        index = np.arange(SIZE)
        features = np.stack([index, index + 100], axis=1).astype(np.uint8)
        self.split = Split(features, index.astype(np.int32))
        self.size = SIZE
        self.taken = 0
        self.bad = bad

    def expect(self, indices: Any) -> None:
        assert len(indices)

    def take(self, indices: Any) -> Split:
        if self.bad in indices:
            raise RunError("a bad disk")
        self.taken += len(indices)
        return self.split.take(indices)


def examples(block: Block, pipeline: InputPipeline) -> list[Any]:
    """Returns the features and targets of each step of a block."""
    found = []
    for step in range(block.num_steps):
        inputs = tuple(tf.constant(each[step]) for each in block.inputs)
        position = tf.constant(block.position + step * pipeline.stride)
        features, targets = pipeline.read(inputs, position)
        found.append((features.numpy().tolist(), targets.numpy().tolist()))
    return found


@given(
    start=st.integers(0, 60),
    stops=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    piece=st.integers(1, 6),
    block=st.sampled_from([0, 5]),
    rank=st.integers(0, 2),
)
def test_steps_get_what_resident_ones_get(
    start: int, stops: list[int], piece: int, block: int, rank: int
) -> None:
    steps = np.cumsum(stops).tolist()
    arguments = SPEC, 4, 7, rank, 3, None, block
    resident = create_pipeline(
        to_tensors({"train": Streamed().split})["train"], *arguments
    )
    streaming = create_pipeline(Streamed(), *arguments)
    assert isinstance(streaming, StreamingPipeline)
    streaming._piece_steps = piece
    found, blocks = [], []
    for pipeline in (resident, streaming):
        pipeline.consumed = start * pipeline.stride
        found.append([])
        blocks.append(list(pipeline.blocks(0, iter(steps))))
        for each in blocks[-1]:
            found[-1] += examples(each, pipeline)
        assert pipeline.consumed == (start + steps[-1]) * pipeline.stride
    assert found[0] == found[1]
    ends = np.cumsum([each.num_steps for each in blocks[1]]).tolist()
    assert set(steps) <= set(ends)
    assert max(each.num_steps for each in blocks[1]) <= piece


def test_a_signature_is_that_of_its_inputs() -> None:
    for source in (to_tensors({"train": Streamed().split})["train"], Streamed()):
        pipeline = create_pipeline(source, SPEC, 4, 7)
        for inputs, spec in zip(pipeline.take(3).inputs, pipeline.signature):
            assert spec.is_compatible_with(tf.constant(inputs))


def test_it_reads_no_more_than_it_may_hold() -> None:
    source = Streamed()
    pipeline = StreamingPipeline(source, SPEC, 4, 7)
    pipeline._piece_steps = 1
    blocks = pipeline.blocks(0, iter([1000]))
    next(blocks)
    time.sleep(0.3)
    assert source.taken == 4 * 4  # in use, two ready, and one that waits for a place
    threads = threading.active_count()
    del blocks
    gc.collect()
    time.sleep(0.3)
    assert threading.active_count() < threads


def test_what_steps_wait_for_examples_is_counted() -> None:
    class Slow(Streamed):
        def take(self, indices: Any) -> Split:
            time.sleep(0.05)
            return super().take(indices)

    pipeline = StreamingPipeline(Slow(), SPEC, 4, 7)
    pipeline._piece_steps = 5
    assert pipeline.waiting_seconds == 0
    waited = sum(block.waited for block in pipeline.blocks(0, iter([20])))
    assert waited == pytest.approx(20 * pipeline.waiting_seconds)
    assert 0.005 < pipeline.waiting_seconds < 0.04  # 0.05 s for 5 steps
    slow = InputPipeline(to_tensors({"": Streamed().split})[""], SPEC, 4, 7)
    assert slow.waiting_seconds == 0


def test_pieces_are_of_limited_size() -> None:
    large = DatasetSpec((1 << 20,), 2)
    assert StreamingPipeline(Streamed(), large, 4, 7)._piece_steps == 7
    assert StreamingPipeline(Streamed(), large, 64, 7)._piece_steps == 1
    assert StreamingPipeline(Streamed(), SPEC, 4, 7)._piece_steps == 100


def test_an_error_comes_where_it_belongs() -> None:
    pipeline = StreamingPipeline(Streamed(bad=11), SPEC, 1, 7)
    pipeline._piece_steps = 1
    seen = []
    with pytest.raises(RunError, match="a bad disk"):
        for block in pipeline.blocks(0, iter(range(1, SIZE + 1))):
            seen += block.indices.ravel().tolist()
    order = InputPipeline(Streamed().split, SPEC, 1, 7).take(SIZE).indices.ravel()
    assert seen == order[: order.tolist().index(11)].tolist()


@pytest.mark.parametrize(
    "split", [Streamed(), to_tensors({"": Streamed().split})[""]], ids=["stream", "all"]
)
def test_chunks_cover_a_part(split: Split | StreamedSplit) -> None:
    found = list(chunks(split, range(3, 20, 7)))
    targets = [np.asarray(chunk.targets).tolist() for chunk in found]
    assert targets == [list(range(3, 10)), list(range(10, 17)), list(range(17, 20))]
    assert all(len(chunk.features) == len(chunk.targets) for chunk in found)


def test_reading_ahead_ends_where_the_iterator_does() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyError("end")

    seen = []
    with pytest.raises(KeyError, match="end"):
        for item in read_ahead(items(), "waiting"):
            seen.append(item)
    assert seen == list(range(5))
    assert list(read_ahead(iter(range(3)), "waiting")) == [0, 1, 2]
