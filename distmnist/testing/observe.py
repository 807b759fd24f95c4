"""Trains the network of a problem on this rank, and records what happens."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.data import loading
from distmnist.data.dataset import Dataset
from distmnist.data.pipeline import Block, Inputs
from distmnist.data.sources.function import FunctionSource
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.types import MetricWriter
from distmnist.testing.problem import Observed, Problem, Values
from distmnist.trainer import Trainer

_STEPS = 6
_INTERRUPTED = 3  # steps after which the resumed run was interrupted
_LEAST_BATCH = 12  # examples in a global batch
_EVALUATED = 11  # examples of a split: ranks have unequal shares


def observe(
    problem: Problem,
    observed: Observed,
    cluster: Cluster,
    sizes: list[int],
    directory: Path,
) -> None:
    """Trains a network; trains it again, interrupts and resumes that.

    Args:
        problem: network, data set and configuration.
        observed: what happened is stored here.
        cluster: the ranks; all must call it.
        sizes: all numbers of ranks that are compared.
        directory: for run directories.
    """
    config = _configure(problem, cluster.size, sizes)
    batch = config.examples_per_step * cluster.size
    dataset = _shorten(_load(problem, config, cluster), batch, sizes)
    network = None if isinstance(problem.network, str) else problem.network

    def create(name: str) -> _Watched:
        own = dataclasses.replace(config, log_dir=str(directory / name))
        return _Watched(own, cluster, dataset, network)

    whole = create("whole")
    observed.exact = not whole.network.statistics
    observed.initial = _values(whole.variables)
    observed.metrics = dict(whole.run()["validation"].metrics)
    observed.sums, observed.losses = whole.sums, (whole.losses[0], whole.losses[-1])
    observed.first, observed.whole = whole.first, _values(whole.variables)
    later = set(whole.network.named_variables) - set(whole.variables)
    observed.created_later = sorted(later)
    if cluster.size == sizes[0]:
        whole.measure(observed)
    if cluster.rank == 0:
        _copy_checkpoint(directory / "whole", directory / "resumed")
    resumed = create("resumed")
    observed.again = _values(resumed.variables)
    resumed.run()
    observed.resumed = _values(resumed.variables)


def _copy_checkpoint(directory: Path, to: Path) -> None:
    """Makes the directory that a run has if it is interrupted."""
    to.mkdir()
    for path in directory.glob(f"model.ckpt-{_INTERRUPTED}.*"):
        shutil.copy(path, to)


def _configure(problem: Problem, size: int, sizes: list[int]) -> Config:
    """Returns the configuration of the check on a number of ranks."""
    passes = problem.config.backward_passes_per_step
    unit = math.lcm(*sizes) * passes
    batch = unit * -(-_LEAST_BATCH // unit)
    names: dict[str, Any] = {}
    if isinstance(problem.network, str):
        names["model"] = problem.network
    if isinstance(problem.dataset, str):
        names["dataset"] = problem.dataset
    return dataclasses.replace(
        problem.config,
        **names,
        batch_size=batch // (size * passes),
        max_steps=_STEPS,
        num_epochs=None,
        lr_scaling="none",
        warmup_steps=0,
        log_every=1,  # the loop then stops at each step
        eval_every=0,
        checkpoint_every=_INTERRUPTED,
        keep_checkpoints=_STEPS,
        best_metric="auto",
        restart=False,
        progress=False,
        elastic=False,
        fp16_allreduce=False,
        use_adasum=False,
        compute_dtype="float32",
        profile=(),
    )


def _load(problem: Problem, config: Config, cluster: Cluster) -> Dataset:
    given = problem.dataset
    if isinstance(given, str):
        return loading.load(config, cluster)
    if not isinstance(given, Dataset):
        source = FunctionSource("argument dataset", given)
        given = cluster.run_collectively(source.load)
    return loading.settle(given, cluster, config)


def _shorten(dataset: Dataset, batch: int, sizes: list[int]) -> Dataset:
    """Returns some examples of each split.

    The steps take more than an epoch, which a global batch does not divide, and ranks
    have unequal shares of what is evaluated.
    """
    splits = {}
    for name, split in dataset.splits.items():
        most, divisors = (
            (5 * batch // 2 + 1, [batch])
            if name == "train"
            else (_EVALUATED, [size for size in sizes if size > 1])
        )
        count = min(most, split.size)
        while count > 1 and any(count % divisor == 0 for divisor in divisors):
            count -= 1
        chosen = np.linspace(0, split.size - 1, count).astype(int)
        splits[name] = split.take(chosen)
    chosen_sizes = [split.size for split in splits.values()]
    content = f"{dataset.fingerprint} {chosen_sizes}".encode()
    fingerprint = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(
        dataset,
        fingerprint=fingerprint,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


class _Watched(Trainer):
    """A trainer that records its variables after each step.

    Attributes:
        sums: checksums of the variables.
        losses: of the global batch.
        first: values of the variables after the first step.
    """

    def __init__(
        self, config: Config, cluster: Cluster, dataset: Dataset, network: Any
    ):
        self.sums: list[dict[str, int]] = []
        self.losses: list[float] = []
        self.first: Values = {}
        super().__init__(config, cluster, dataset, network)

    def train_block(self, block: Block) -> Progress:
        """Takes a step."""
        progress = super().train_block(block)
        values = _values(self.variables)
        self.first = self.first or values
        self.sums.append({name: zlib.crc32(v.data) for name, v in values.items()})
        self.losses.append(progress.loss)
        return progress

    def _create_writer(self) -> MetricWriter:
        return MetricWriter()  # which writes nothing

    def measure(self, observed: Observed) -> None:
        """Computes the loss of a batch, several times, and those of its halves."""
        before = _values(self.variables)
        batch = self._config.examples_per_step
        indices = tf.range(batch) % self._dataset.train.size
        half = batch // 2

        def compute(function: Any, first: int, last: int) -> Any:
            for name, variable in self.variables.items():
                variable.assign(before[name])
            part = indices[first:last]
            return function((part,), tf.constant(first, tf.int64)).numpy()

        def outputs(inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
            features, _ = self.pipeline.read(inputs, position)
            return self.network.outputs(features, position)

        def loss(inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
            weights = list(self._weights.values())
            with tf.GradientTape() as tape:
                value = self._batch_loss(inputs, position)
            gradients = tape.gradient(value, weights)
            observed.unused = [
                name for name, g in zip(self._weights, gradients) if g is None
            ]
            observed.rough = any(
                output.dtype in (tf.float16, tf.bfloat16)
                for operation in value.graph.get_operations()
                for output in operation.outputs
            )
            return value

        traced, again = _function(loss), _function(self._batch_loss)
        once, twice, elsewhere = (
            float(compute(function, 0, batch)) for function in (traced, traced, again)
        )
        observed.repeats = (once, twice, elsewhere)
        if half and self._cluster.size == 1:
            first, second = (
                float(compute(again, *part)) for part in ((0, half), (half, batch))
            )
            observed.parts = (elsewhere, first, second)
            if not np.isclose(elsewhere, (first + second) / 2, rtol=1e-4):
                function = _function(outputs)
                whole = compute(function, 0, batch)
                halves = [compute(function, 0, half), compute(function, half, batch)]
                close = np.allclose(whole, np.concatenate(halves), 1e-3, 1e-4)
                observed.outputs_differ = not close
        for name, variable in self.variables.items():
            variable.assign(before[name])


def _function(function: Any) -> Any:
    """Returns a new graph function, of batches of any size."""
    return tf.function(
        lambda *args: function(*args),
        input_signature=(
            (tf.TensorSpec([None], tf.int32),),
            tf.TensorSpec([], tf.int64),
        ),
    )


def _values(variables: dict[str, tf.Variable]) -> Values:
    # A copy: what numpy() returns is the variable's own memory on a CPU.
    return {name: np.array(v.numpy()) for name, v in variables.items()}
