"""Precision @ 1 of a split, class by class: counted on all ranks, summed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from distmnist.core.progress import Progress
from distmnist.data import sampler
from distmnist.data.datasets import Split
from distmnist.data.idx import NUM_CLASSES
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.types import Evaluation, Mistakes, Precision, Writer
from distmnist.models import model

# Examples a pass: enough to fill the cores, few enough to stay in their caches.
_CHUNK = 1000


class Evaluator:
    """Evaluates all splits, each rank a share of each.

    Attributes:
        results: the newest precision of each split, the same on every rank.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        network: model.Network,
        cluster: Cluster,
        writer: Writer,
    ):
        """Evaluates nothing yet.

        Args:
            splits: the whole splits, by name, as tensors.
            network: what is evaluated.
            cluster: each of its ranks counts a share of every split.
            writer: is told of the results.
        """
        self._splits = splits
        self._network = network
        self._cluster = cluster
        self._writer = writer
        # One graph for splits of any size.
        position = tf.TensorSpec([], tf.int32)
        images = tf.TensorSpec([None, model.IMAGE_PIXELS], tf.uint8)
        labels = tf.TensorSpec([None], tf.int32)
        self._count = tf.function(self._count_share).get_concrete_function(
            images, labels, position, position
        )
        self.results: dict[str, Precision] = {}

    def __call__(self, progress: Progress) -> None:
        """Evaluates the network, and tells of it; all ranks must call it."""
        self.results = self.evaluate()
        evaluation = Evaluation(self.results, self._splits["test"], self._network)
        self._writer.evaluation(progress.step, evaluation)

    def evaluate(self) -> dict[str, Precision]:
        """Evaluates the network; all ranks must call it."""
        counts = []
        for name, (images, labels) in self._splits.items():
            share = self._share(name)
            start, stop = tf.constant(share.start), tf.constant(share.stop)
            counts.append(self._count(images, labels, start, stop))
        totals = self._cluster.sum(tf.stack(counts)).numpy()
        return {
            name: Precision(
                len(split.labels), int(total[0]), total[1:].reshape(NUM_CLASSES, -1)
            )
            for (name, split), total in zip(self._splits.items(), totals)
        }

    def _share(self, split: str) -> slice:
        """Returns which examples of a split this rank evaluates."""
        size = len(self._splits[split].labels)
        return sampler.share(size, self._cluster.rank, self._cluster.size)

    def _count_share(
        self, images: tf.Tensor, labels: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        """Evaluates the examples in [start, stop), the last chunk being short.

        Returns:
            int32 [101]: how many are right, and the confusion matrix, row by row.
        """
        counts = tf.zeros(1 + NUM_CLASSES**2, tf.int32)
        for first in tf.range(start, stop, _CHUNK):
            chunk = slice(first, tf.minimum(first + _CHUNK, stop))
            logits = self._network(model.scale_pixels(images[chunk]))
            correct = model.evaluation(logits, labels[chunk])
            matrix = model.confusion(logits, labels[chunk])
            counts += tf.concat([[correct], tf.reshape(matrix, [-1])], axis=0)
        return counts


def find_worst(split: Split, network: model.Network, count: int = 18) -> Mistakes:
    """Finds the misclassified examples of the highest loss.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: as tensors.
        network: what classifies them.
        count: the most examples.
    """
    images, labels = split
    logits = tf.concat(
        [
            network(model.scale_pixels(images[first : first + _CHUNK]))
            for first in range(0, len(labels), _CHUNK)
        ],
        axis=0,
    )
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy()
    guesses = tf.argmax(logits, axis=1).numpy()
    (wrong,) = np.nonzero(guesses != np.asarray(labels))
    worst = wrong[np.argsort(-losses[wrong], kind="stable")[:count]]
    return Mistakes(
        np.asarray(images)[worst],
        np.asarray(labels)[worst],
        guesses[worst],
        np.exp(-losses[worst]),
    )
