"""The breakdown of a step: what its time goes to, and how busy that keeps the device.

Parts of a step overlap, so that no clock in it could tell them apart. Steps are timed
whole instead, and compared with steps that leave something out: without communication,
and with nothing but it. What communication adds to a step is exposed; the rest of the
time that it takes on its own is hidden.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.data.pipeline import InputPipeline
from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.watchdog import watchdog

_SECONDS = 0.2  # of one measurement, at least, unless a step takes longer
_MOST_STEPS = 200
_MOST_BYTES = 256 << 20  # of the input of one measurement
_REPEATS = 3
# Rows and columns of the product that measures the peak; a GPU takes 20 ms for its own.
_CPU_MATRIX, _GPU_MATRIX = 1024, 8192


class Breakdown(NamedTuple):
    """What a step's time goes to, on the slowest rank.

    Attributes:
        step_ms: duration of a step, in milliseconds.
        input_ms: of it, reading examples.
        compute_ms: of it, the forward and backward pass and the update.
        exposed_ms: of it, waiting for communication.
        hidden_ms: communication while the rank computes; not a part of the sum.
        waiting_ms: waiting, between steps, for examples to be read; so far, on average.
        flops: floating-point operations of a step on each rank; 0: not known.
        peak_flops: of a large matrix product in a second, on each rank.
    """

    step_ms: float
    input_ms: float
    compute_ms: float
    exposed_ms: float
    hidden_ms: float
    waiting_ms: float
    flops: float
    peak_flops: float

    @property
    def utilization(self) -> float:
        """Model FLOP utilization: the share of the peak that steps make use of."""
        return 1000 * self.flops / self.step_ms / self.peak_flops

    def as_metrics(self) -> dict[str, float]:
        """Returns all figures by name; without those of operations if not known."""
        values = self._asdict()
        if not self.flops:
            return {k: v for k, v in values.items() if k.endswith("_ms")}
        return {**values, "utilization": self.utilization}

    def __str__(self) -> str:
        """Returns it in words."""
        text = (
            f"a step of {self.step_ms:.3g} ms: input {self.input_ms:.3g}, forward and "
            f"backward pass and update {self.compute_ms:.3g}, communication "
            f"{self.exposed_ms:.3g} exposed (and {self.hidden_ms:.3g} hidden)"
        )
        if self.waiting_ms:
            text += f"; waiting for examples {self.waiting_ms:.3g} a step"
        if not self.flops:
            return text
        return (
            f"{text}; {self.flops:.3g} floating-point operations a step, "
            f"{self.utilization:.1%} of the {self.peak_flops:.3g} a second that a "
            "matrix product reaches"
        )


def measure(
    config: Config,
    cluster: Cluster,
    variables: Mapping[str, tf.Variable],
    pipeline: InputPipeline,
    steps: tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]],
    send: Callable[[], Sequence[tf.Tensor]],
    batch_loss: Callable[..., tf.Tensor],
) -> Breakdown:
    """Measures a step; all ranks must call it.

    Args:
        config: run configuration.
        cluster: the ranks.
        variables: all that steps change; they are restored.
        pipeline: this rank's input; nothing is taken from it.
        steps: take steps, by the indices of their examples and their position: as in
            training, and without communication.
        send: averages what has the gradients' sizes, in the graph.
        batch_loss: returns the loss of a batch, in the graph, by the same arguments.

    Returns:
        The breakdown, the same on all ranks.
    """
    example = [np.zeros(each.shape[1:], each.dtype.name) for each in pipeline.signature]
    constants = tuple(map(tf.constant, example))

    def read(step: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        return _depend(last, pipeline.read(constants, step))

    def taken(function: Callable[..., tf.Tensor]) -> Callable[[int], object]:
        def steps(count: int) -> object:
            inputs = [np.broadcast_to(each, (count, *each.shape)) for each in example]
            return function(tuple(inputs), np.int64(0)).numpy()

        return steps

    parts = {"step": taken(steps[0]), "input": looped(read, tf.constant(0.0))}
    if cluster.size > 1:
        parts["alone"] = taken(steps[1])
        parts["sending"] = looped(lambda _, s: _depend(s, send()), tf.constant(0.0))
    values = {name: variable.numpy() for name, variable in variables.items()}
    most = _MOST_BYTES // max(1, sum(each.nbytes for each in example))
    ms = _milliseconds(cluster, parts, most_steps=min(_MOST_STEPS, most))
    for name, value in values.items():
        variables[name].assign(value)
    exposed = max(0.0, ms["step"] - ms.get("alone", ms["step"]))
    batch = tuple(
        tf.TensorSpec([config.batch_size, *each.shape[2:]], each.dtype)
        for each in pipeline.signature
    )
    (waiting,) = cluster.allreduce_max([pipeline.waiting_seconds])
    flops = count_flops(batch_loss, batch, tf.TensorSpec([], tf.int64))
    return Breakdown(
        step_ms=ms["step"],
        input_ms=min(ms["input"], ms["step"] - exposed),
        compute_ms=max(0.0, ms["step"] - exposed - ms["input"]),
        exposed_ms=exposed,
        hidden_ms=max(0.0, ms.get("sending", 0.0) - exposed),
        waiting_ms=1000 * waiting,
        flops=config.backward_passes_per_step * flops,
        peak_flops=_peak(cluster, config.compute_dtype),
    )


def _depend(value: tf.Tensor, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns a value that requires some tensors to be computed; float32 scalar."""
    firsts = [tf.cast(tf.reshape(tensor, [-1])[0], tf.float32) for tensor in tensors]
    return value + tf.add_n(firsts)


def looped(
    body: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], state: tf.Tensor
) -> Callable[[int], object]:
    """Returns a function that runs a loop in the graph, and returns at its end.

    Args:
        body: returns the next state; called with the step, int64 scalar, and the state.
        state: the first one; each must be needed for the next.
    """

    def loop(count: tf.Tensor) -> tf.Tensor:
        _, end = tf.while_loop(
            lambda step, _: step < count,
            lambda step, state: (step + 1, body(step, state)),
            (tf.constant(0, tf.int64), state),
        )
        return tf.reshape(end, [-1])[0]

    run = tf.function(loop, input_signature=[tf.TensorSpec([], tf.int64)])
    return lambda count: run(np.int64(count)).numpy()


def count_flops(function: Callable[..., tf.Tensor], *inputs: Any) -> float:
    """Returns the floating-point operations of a function and its gradients.

    By TensorFlow's own count; operations in loops of the graph are not in it.

    Args:
        function: returns a loss; its gradients are by all variables that it uses.
        inputs: what it is called with; of known shapes.
    """

    def with_gradients(*values: tf.Tensor) -> list[tf.Tensor | None]:
        with tf.GradientTape() as tape:
            loss = function(*values)
        return [loss, *tape.gradient(loss, tape.watched_variables())]

    graph = tf.function(with_gradients).get_concrete_function(*inputs).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # TensorFlow warns of its own function, as deprecated
    try:
        return float(profiler.profile(graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)


def _milliseconds(
    cluster: Cluster,
    functions: Mapping[str, Callable[[int], object]],
    choose: Callable[[Sequence[float]], float] = statistics.median,
    most_steps: int = _MOST_STEPS,
) -> dict[str, float]:
    """Returns how long a step of each function takes, chosen from several times.

    They take turns, so that other load on the machine affects all of them.
    """
    counts = {}
    for name, function in functions.items():
        function(1)  # the first call builds
        (seconds,) = cluster.allreduce_max([_time(cluster, function, 1)])
        counts[name] = max(1, min(most_steps, int(_SECONDS / seconds)))
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(_REPEATS):
        for name, function in functions.items():
            seconds = _time(cluster, function, counts[name])
            times[name].append(1000 * seconds / counts[name])
    chosen = [choose(each) for each in times.values()]
    return dict(zip(times, cluster.allreduce_max(chosen)))


def _time(cluster: Cluster, function: Callable[[int], object], count: int) -> float:
    """Returns the seconds that a call takes, which begins on all ranks together."""
    watchdog.beat()
    cluster.allgather(None)
    begin = time.perf_counter()
    function(count)
    return time.perf_counter() - begin


def _peak(cluster: Cluster, dtype: str) -> float:
    """Returns the operations per second of a matrix product, on the slowest rank."""
    size = _GPU_MATRIX if devices.has_gpu() else _CPU_MATRIX
    matrix = tf.ones([size, size], dtype)
    product = looped(lambda _, last: tf.matmul(last, matrix) / size, matrix)
    milliseconds = _milliseconds(cluster, {"product": product}, min)["product"]
    return 1000 * 2 * size**3 / milliseconds
