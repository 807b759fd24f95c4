"""The input pipeline of data that are read while training goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.pipeline import Block, InputPipeline, Inputs
from distmnist.data.read_ahead import read_ahead
from distmnist.data.tensors import to_tensor

# Of the examples of a piece, which is read at once; a step's may be more. Four pieces
# are in memory: one is used, two are ready, and one is read.
_PIECE_BYTES = 32 << 20
_PIECE_STEPS = 100


def create_pipeline(source: Split | StreamedSplit, *arguments: Any) -> InputPipeline:
    """Returns the input pipeline of a split.

    Args:
        source: the split, as tensors or streamed.
        *arguments: the others of `InputPipeline`.
    """
    if isinstance(source, Split):
        return InputPipeline(source, *arguments)
    return StreamingPipeline(source, *arguments)


class StreamingPipeline(InputPipeline):
    """Reads examples in the sampler's order, ahead of the steps that take them.

    What a step gets is what `InputPipeline` gives it, bit for bit. Blocks are shorter
    where a piece ends.
    """

    def __init__(self, source: StreamedSplit, *arguments: Any):
        """Starts at the first example; the arguments are those of `InputPipeline`."""
        super().__init__(source, *arguments)
        self._split = source
        self._waited, self._steps = 0.0, 0
        step_bytes = self._batch_size * self._spec.example_bytes
        self._piece_steps = max(1, min(_PIECE_STEPS, _PIECE_BYTES // step_bytes))

    @property
    def waiting_seconds(self) -> float:
        """What a step has waited for its examples so far, on average, in seconds."""
        return self._waited / max(1, self._steps)

    @property
    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """Shapes and types of `Block.inputs`: features and targets."""
        spec, batch = self._spec, [None, self._batch_size]
        return (
            tf.TensorSpec([*batch, *spec.feature_shape], spec.feature_dtype),
            tf.TensorSpec([*batch, *spec.target_shape], spec.target_dtype),
        )

    def take(self, num_steps: int) -> Block:
        """Reads the input of the next steps, now."""
        indices = self._indices(self.consumed, num_steps)
        return self._block(indices, self._read(indices))

    def blocks(self, step: int, stops: Iterable[int]) -> Iterator[Block]:
        """Yields the input up to each stop, in one block or several."""
        pieces = read_ahead(self._pieces(), "waiting for examples to be read")
        used = taken = 0
        for stop in stops:
            while step < stop:
                begin = time.perf_counter()
                if used == taken:
                    indices, inputs = next(pieces)
                    used, taken = 0, len(indices)
                part = slice(used, used + stop - step)
                block = self._block(indices[part], tuple(each[part] for each in inputs))
                used += block.num_steps
                waited = time.perf_counter() - begin
                self._waited += waited
                self._steps += block.num_steps
                step += block.num_steps
                yield block._replace(waited=waited)

    def _pieces(self) -> Iterator[tuple[NDArray[Any], Inputs]]:
        """Yields the examples of steps, and their input; it runs ahead."""
        consumed = self.consumed
        coming = self._indices(consumed, self._piece_steps)
        while True:
            indices = coming
            consumed += len(indices) * self.stride
            coming = self._indices(consumed, self._piece_steps)
            self._split.expect(coming.ravel())
            yield indices, self._read(indices)

    def _read(self, indices: NDArray[Any]) -> Inputs:
        """Reads the examples of steps."""
        steps = indices.shape
        arrays = self._split.take(indices.ravel())
        return tuple(to_tensor(x.reshape(*steps, *x.shape[1:])) for x in arrays)

    def _examples(self, inputs: Inputs) -> tuple[tf.Tensor, tf.Tensor]:
        features, targets = inputs
        return features, targets


def chunks(split: Split | StreamedSplit, part: range) -> Iterator[Split]:
    """Yields consecutive examples, read ahead if they are streamed.

    Args:
        split: where they are, as tensors or streamed.
        part: their indices; its step is the size of a chunk.
    """
    slices = (slice(first, min(first + part.step, part.stop)) for first in part)
    if isinstance(split, Split):
        return (Split(*(each[chunk] for each in split)) for chunk in slices)
    taken = (split.take(np.arange(chunk.start, chunk.stop)) for chunk in slices)
    return read_ahead(
        (Split(*map(to_tensor, each)) for each in taken),
        "waiting for examples to be read",
    )
