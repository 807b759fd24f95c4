"""Keras: `compile` and `fit`, on arrays in memory."""

from __future__ import annotations

import math
import time

import keras
import numpy as np

from tests.benchmarks import data, measuring
from tests.benchmarks.peers import keras_network

_WARM_UP_BLOCKS = 3


class _Clock(keras.callbacks.Callback):
    """Times blocks of steps, and stops training after the last block."""

    def __init__(self, blocks: int, block_steps: int):
        super().__init__()
        self.start_up = 0.0
        self.times: list[float] = []
        self._blocks = blocks + _WARM_UP_BLOCKS
        self._block_steps = block_steps
        self._steps = 0
        self._begin = 0.0

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        if self._steps % self._block_steps == 0:
            self._begin = time.perf_counter()
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if not self._steps:
            self.start_up = measuring.seconds_since_creation()
        self._steps += batch - self._first + 1  # the steps of one execution
        if self._steps % self._block_steps == 0:
            seconds = time.perf_counter() - self._begin
            self.times.append(seconds / self._block_steps)
        if len(self.times) >= self._blocks:
            self.model.stop_training = True


def main() -> None:
    """Measures."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--jit_compile", choices=("auto", "off"), default="auto")
    parser.add_argument("--steps_per_execution", type=int, default=1, help="at most")
    options = parser.parse_args()
    train = data.load(options.data)[0]
    images = train.images.astype(np.float32) / 255
    model = keras_network.build(options.model)
    model.compile(
        optimizer=keras_network.optimizer(options.model),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile="auto" if options.jit_compile == "auto" else False,
        # A block is made of whole executions.
        steps_per_execution=math.gcd(options.steps_per_execution, options.block_steps),
    )
    clock = _Clock(options.blocks, options.block_steps)
    model.fit(
        images,
        train.labels,
        batch_size=measuring.BATCH_SIZE,
        epochs=10**6,
        verbose=0,
        callbacks=[clock],
    )
    measuring.report(
        **measuring.measured(clock.times[_WARM_UP_BLOCKS:], clock.start_up)
    )


if __name__ == "__main__":
    main()
