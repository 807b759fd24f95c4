"""Precision @ 1 of a split, class by class: counted on all ranks, summed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from distmnist import model, sampling
from distmnist.cluster import Cluster
from distmnist.datasets import Split
from distmnist.idx import NUM_CLASSES
from distmnist.metrics import Evaluation, Mistakes, Precision, Writer
from distmnist.periodic import Progress

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
        self._losses: dict[str, tf.Tensor] = {}  # of this rank's share
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
        variables = self._network.named_variables
        evaluation = Evaluation(self.results, self.worst("test"), variables)
        self._writer.evaluation(progress.step, evaluation)

    def evaluate(self) -> dict[str, Precision]:
        """Evaluates the network; all ranks must call it."""
        counts = []
        for name, (images, labels) in self._splits.items():
            share = self._share(name)
            start, stop = tf.constant(share.start), tf.constant(share.stop)
            count, self._losses[name] = self._count(images, labels, start, stop)
            counts.append(count)
        totals = self._cluster.sum(tf.stack(counts)).numpy()
        return {
            name: Precision(
                len(split.labels), int(total[0]), total[1:].reshape(NUM_CLASSES, -1)
            )
            for (name, split), total in zip(self._splits.items(), totals)
        }

    def worst(self, split: str, count: int = 18) -> Mistakes:
        """Finds the misclassified examples of the highest loss; all ranks must call it.

        They are those of the last `evaluate`.

        Args:
            split: its name.
            count: the most examples.
        """
        losses, first = self._losses[split].numpy(), self._share(split).start
        mine = np.argpartition(-losses, min(count, len(losses) - 1))[:count]
        gathered = self._cluster.allgather((losses[mine], first + mine))
        losses, indices = (np.concatenate(parts) for parts in zip(*gathered))
        indices = indices[np.argsort(-losses, kind="stable")[:count]]
        images, labels = (tf.gather(part, indices) for part in self._splits[split])
        logits = self._network(model.scale_pixels(images))
        guesses = tf.argmax(logits, axis=1)
        probabilities = tf.gather(tf.nn.softmax(logits), labels, batch_dims=1)
        wrong = guesses.numpy() != labels.numpy()
        found = (images, labels, guesses, probabilities)
        return Mistakes(*(tensor.numpy()[wrong] for tensor in found))

    def _share(self, split: str) -> slice:
        """Returns which examples of a split this rank evaluates."""
        size = len(self._splits[split].labels)
        return sampling.share(size, self._cluster.rank, self._cluster.size)

    def _count_share(
        self, images: tf.Tensor, labels: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluates the examples in [start, stop), the last chunk being short.

        Returns:
            int32 [101]: how many are correct, and the confusion matrix, row by row.
            float32 [stop - start]: the loss of each.
        """
        counts = tf.zeros(1 + NUM_CLASSES**2, tf.int32)
        losses = tf.TensorArray(
            tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None]
        )
        for first in tf.range(start, stop, _CHUNK):
            chunk = slice(first, tf.minimum(first + _CHUNK, stop))
            logits = self._network(model.scale_pixels(images[chunk]))
            correct = model.evaluation(logits, labels[chunk])
            matrix = model.confusion(logits, labels[chunk])
            counts += tf.concat([[correct], tf.reshape(matrix, [-1])], axis=0)
            losses = losses.write(
                losses.size(),
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels[chunk], logits),
            )
        return counts, losses.concat()
