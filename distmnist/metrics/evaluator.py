"""The evaluator: metrics of each split, summed on all ranks, exact for the split."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.core import autograph
from distmnist.core.progress import Progress
from distmnist.data import sampler, streaming
from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.spec import DatasetSpec
from distmnist.data.tensors import chunk_size, normalize, restore_targets
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.watchdog import watchdog
from distmnist.metrics.types import (
    ClassCounts,
    Evaluation,
    MetricWriter,
    SplitResult,
)
from distmnist.models import losses, own_methods
from distmnist.models.network import Network

# Of those, in the first call when several ranks wait for each other; then twice as many
# as long as a call is short.
_FIRST_CHUNKS = 16
_BEAT_SECONDS = 1.0

# Classes up to which there is a confusion matrix: a million cells.
_MAX_CLASSES = 1000


class Evaluator:
    """Evaluates all splits, each rank a shard of each; a hook.

    Attributes:
        results: newest result of each split, the same on every rank.
    """

    def __init__(
        self,
        splits: Mapping[str, Split | StreamedSplit],
        network: Network,
        cluster: Cluster,
        spec: DatasetSpec,
        writer: MetricWriter | None = None,
    ):
        """Builds the graph; evaluates nothing yet.

        Args:
            splits: whole splits by name, as tensors or streamed.
            network: network to evaluate.
            cluster: each of its ranks counts a shard of every split.
            spec: shapes and classes of the data set.
            writer: receives the results, if called as a hook.
        """
        self._splits = splits
        self._network = network
        self._cluster = cluster
        self._spec = spec
        self._chunk_size = chunk_size(spec)
        self._writer = writer or MetricWriter()
        self._metrics: list[str] = []  # names, in the order of their sums
        features = tf.TensorSpec([None, *spec.feature_shape], spec.feature_dtype)
        targets = tf.TensorSpec([None, *spec.target_shape], spec.target_dtype)
        self._evaluate_chunk = tf.function(self._chunk).get_concrete_function(
            features, targets
        )
        # One graph for splits of any size.
        position = tf.TensorSpec([], tf.int32)
        self._totals = [
            tf.TensorSpec(total.shape, total.dtype)
            for total in self._evaluate_chunk.structured_outputs
        ]
        self._evaluate = tf.function(self._shard).get_concrete_function(
            features, targets, position, position, *self._totals
        )
        self.results: dict[str, SplitResult] = {}

    def __call__(self, progress: Progress) -> None:
        """Evaluates the network, and writes the results."""
        self.results = self.evaluate()
        result = Evaluation(
            self.results, self._splits["test"], self._network, self._spec
        )
        with watchdog.phase("writing metrics"):
            self._writer.evaluation(progress, result)

    def evaluate(self) -> dict[str, SplitResult]:
        """Returns the result of each split; all ranks must call it."""
        with watchdog.phase("evaluating"):
            parts = [self._evaluate_shard(split) for split in self._splits.values()]
            counts, sums = (
                self._cluster.allreduce_sum(tf.stack(values)).numpy()
                for values in zip(*parts)
            )
        return {
            name: self._result(split.size, *totals)
            for (name, split), *totals in zip(self._splits.items(), counts, sums)
        }

    def _evaluate_shard(
        self, split: Split | StreamedSplit
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluates this rank's shard of a split; see `_shard`.

        In one call, unless a watchdog waits for progress, or examples for being read:
        the chunks, and so the order of the sums, are the same.
        """
        shard = sampler.shard(split.size, self._cluster.rank, self._cluster.size)
        counts, sums = (tf.zeros(total.shape, total.dtype) for total in self._totals)
        if not isinstance(split, Split):
            part = range(shard.start, shard.stop, self._chunk_size)
            for chunk in streaming.chunks(split, part):
                more = self._evaluate_chunk(*chunk)
                counts, sums = counts + more[0], sums + more[1]
                watchdog.beat()
            return counts, sums
        start, size = shard.start, split.size
        if watchdog.enabled:
            size = _FIRST_CHUNKS * self._chunk_size
        while True:
            begin, stop = time.monotonic(), min(start + size, shard.stop)
            counts, sums = self._evaluate(
                split.features,
                split.targets,
                tf.constant(start),
                tf.constant(stop),
                counts,
                sums,
            )
            watchdog.beat()
            if stop == shard.stop:
                return counts, sums
            start = stop
            if time.monotonic() - begin < _BEAT_SECONDS:
                size *= 2

    def _result(
        self, size: int, counts: NDArray[np.int32], sums: NDArray[np.float64]
    ) -> SplitResult:
        """Returns the result of a split, from its totals; see `_shard`."""
        of_classes, accuracy = None, {}
        if len(counts):
            num_correct, num_examples, *cells = counts.tolist()
            matrix: NDArray[np.int64] | None = None
            if cells:
                matrix = counts[2:].reshape(math.isqrt(len(cells)), -1).astype(np.int64)
            of_classes = ClassCounts(num_examples, num_correct, matrix)
            accuracy = {"accuracy": of_classes.accuracy}
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (sums[:, 0] / sums[:, 1]).tolist()
        loss, *others = zip(self._metrics, means)
        return SplitResult(
            size, {**dict([loss]), **accuracy, **dict(others)}, of_classes
        )

    def _shard(
        self,
        features: tf.Tensor,
        targets: tf.Tensor,
        start: tf.Tensor,
        stop: tf.Tensor,
        counts: tf.Tensor,
        sums: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the examples in [start, stop), the last chunk being shorter.

        Returns:
            int32 [2 + num_classes**2]: the numbers of correct and of all examples, and
            the confusion matrix, row by row, if there is one; [0] without classes.
            float64 [number of metrics, 2]: sum and weight of each metric.
        """
        for first in tf.range(start, stop, self._chunk_size):
            chunk = slice(first, tf.minimum(first + self._chunk_size, stop))
            more = self._evaluate_chunk(features[chunk], targets[chunk])
            counts, sums = counts + more[0], sums + more[1]
        return counts, sums

    def _chunk(
        self, features: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluates some examples; see `_shard`."""
        spec, network = self._spec, self._network
        outputs = network.outputs(normalize(features, spec))
        size = tf.cast(tf.shape(targets)[0], tf.float64)
        loss = tf.cast(network.mean_loss(outputs, targets), tf.float64)
        metrics = {"loss": (loss * size, size)}
        own_metrics = autograph.converted(network.metrics)
        own = own_metrics(restore_targets(outputs, spec), targets)
        counts = _counts(outputs, targets, spec)
        built_in = ("loss", "accuracy") if counts.shape[0] else ("loss",)
        own_methods.check_metrics(network.label, own, built_in)
        metrics.update(own)
        self._metrics = list(metrics)
        sums = [
            tf.stack([tf.cast(value, tf.float64) for value in pair])
            for pair in metrics.values()
        ]
        return counts, tf.stack(sums)


def _counts(outputs: tf.Tensor, targets: tf.Tensor, spec: DatasetSpec) -> tf.Tensor:
    """Counts the examples of each class; see `Evaluator._shard`."""
    num_classes = spec.num_classes
    if num_classes is None or outputs.shape.rank != targets.shape.rank + 1:
        return tf.zeros(0, tf.int32)
    logits = tf.reshape(outputs, [-1, num_classes])
    labels = tf.reshape(targets, [-1])
    counts = tf.stack([losses.evaluation(logits, labels), tf.size(labels)])
    if num_classes > _MAX_CLASSES:
        return counts
    matrix = losses.confusion(logits, labels, num_classes)
    return tf.concat([counts, tf.reshape(matrix, [-1])], axis=0)
