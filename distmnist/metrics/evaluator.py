"""The evaluator: accuracy of each split, counted on all ranks, summed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from distmnist.core.progress import Progress
from distmnist.data import sampler
from distmnist.data.dataset import DatasetSpec, Split
from distmnist.data.tensors import scale
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.types import Evaluation, MetricWriter, Mistakes, SplitResult
from distmnist.models import losses
from distmnist.models.network import Network

# Examples per pass: enough to use all cores, few enough to stay in their caches.
_CHUNK = 1000


class Evaluator:
    """Evaluates all splits, each rank a shard of each; a hook.

    Attributes:
        results: newest result of each split, the same on every rank.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        network: Network,
        cluster: Cluster,
        spec: DatasetSpec,
        writer: MetricWriter | None = None,
    ):
        """Builds the graph; evaluates nothing yet.

        Args:
            splits: whole splits by name, as tensors.
            network: network to evaluate.
            cluster: each of its ranks counts a shard of every split.
            spec: shapes and classes of the data set.
            writer: receives the results, if called as a hook.
        """
        self._splits = splits
        self._network = network
        self._cluster = cluster
        self._spec = spec
        self._writer = writer or MetricWriter()
        # One graph for splits of any size.
        position = tf.TensorSpec([], tf.int32)
        features = tf.TensorSpec([None, spec.num_features], tf.uint8)
        targets = tf.TensorSpec([None], tf.int32)
        self._count = tf.function(self._count_shard).get_concrete_function(
            features, targets, position, position
        )
        self.results: dict[str, SplitResult] = {}

    def __call__(self, progress: Progress) -> None:
        """Evaluates the network, and writes the results."""
        self.results = self.evaluate()
        self._writer.evaluation(
            progress,
            Evaluation(self.results, self._splits["test"], self._network, self._spec),
        )

    def evaluate(self) -> dict[str, SplitResult]:
        """Returns the result of each split; all ranks must call it."""
        counts = []
        for split in self._splits.values():
            shard = sampler.shard(split.size, self._cluster.rank, self._cluster.size)
            start, stop = tf.constant(shard.start), tf.constant(shard.stop)
            counts.append(self._count(split.features, split.targets, start, stop))
        totals = self._cluster.allreduce_sum(tf.stack(counts)).numpy()
        return {
            name: SplitResult(
                split.size,
                int(total[0]),
                total[1:].reshape(self._spec.num_classes, -1),
            )
            for (name, split), total in zip(self._splits.items(), totals)
        }

    def _count_shard(
        self, features: tf.Tensor, targets: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        """Evaluates the examples in [start, stop), the last chunk being shorter.

        Returns:
            int32 [1 + num_classes**2]: the number of correct examples, and the
            confusion matrix, row by row.
        """
        num_classes = self._spec.num_classes
        counts = tf.zeros(1 + num_classes**2, tf.int32)
        for first in tf.range(start, stop, _CHUNK):
            chunk = slice(first, tf.minimum(first + _CHUNK, stop))
            logits = self._network(scale(features[chunk]))
            correct = losses.evaluation(logits, targets[chunk])
            matrix = losses.confusion(logits, targets[chunk], num_classes)
            counts += tf.concat([[correct], tf.reshape(matrix, [-1])], axis=0)
        return counts


def most_wrong(split: Split, network: Network, count: int = 18) -> Mistakes:
    """Returns the misclassified examples with the highest loss.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: the split, as tensors.
        network: what classifies its examples.
        count: most examples to return.
    """
    logits = tf.concat(
        [
            network(scale(split.features[first : first + _CHUNK]))
            for first in range(0, split.size, _CHUNK)
        ],
        axis=0,
    )
    labels = np.asarray(split.targets)
    example_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        split.targets, logits
    ).numpy()
    predictions = tf.argmax(logits, axis=1).numpy()
    (wrong,) = np.nonzero(predictions != labels)
    worst = wrong[np.argsort(-example_losses[wrong], kind="stable")[:count]]
    return Mistakes(
        np.asarray(split.features)[worst],
        labels[worst],
        predictions[worst],
        np.exp(-example_losses[worst]),
    )
