"""The original script of *TensorFlow Mechanics 101*, fully_connected_feed.py.

One process, a feed_dict and a session call per step; summaries every 100 steps; every
1000 steps a checkpoint and the evaluation of the three splits, batch by batch. Changes:
`tf` is `tf.compat.v1`, and data.py reads the data.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import time
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from numpy.typing import NDArray

from tests.benchmarks import data, measuring
from tests.benchmarks.measuring import BATCH_SIZE, LAYERS, TASKS

Feed = dict[tf.Tensor, NDArray]


class DataSet:
    """Examples as float32, in batches, shuffled in every epoch."""

    def __init__(self, split: data.Split):
        """Scales the pixels to [0, 1]."""
        self.images = np.multiply(split.images, 1 / 255, dtype=np.float32)
        self.labels = split.labels
        self.num_examples = len(split.labels)
        self._next = self.num_examples  # shuffles at the first batch

    def next_batch(self, batch_size: int) -> tuple[NDArray, NDArray]:
        """Returns the next images and labels; the batch size divides all splits."""
        if self._next + batch_size > self.num_examples:
            order = np.random.permutation(self.num_examples)
            self.images, self.labels = self.images[order], self.labels[order]
            self._next = 0
        batch = slice(self._next, self._next + batch_size)
        self._next += batch_size
        return self.images[batch], self.labels[batch]


class Network(NamedTuple):
    """The graph of the tutorial.

    Attributes:
        images: Placeholder, float32 [batch, 784].
        labels: Placeholder, int32 [batch].
        loss: Mean loss of the batch.
        train_op: Training step.
        eval_correct: Number of correctly classified examples in the batch.
    """

    images: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor
    train_op: tf.Operation
    eval_correct: tf.Tensor

    def feed(self, data_set: DataSet) -> Feed:
        """Returns the next batch as a feed_dict."""
        images, labels = data_set.next_batch(BATCH_SIZE)
        return {self.images: images, self.labels: labels}


def build() -> Network:
    """Adds the network to the default graph."""
    images = tf.placeholder(tf.float32, (BATCH_SIZE, LAYERS[0]))
    labels = tf.placeholder(tf.int32, (BATCH_SIZE,))
    units = images
    for scope, shape in zip(
        ("hidden1", "hidden2", "softmax_linear"), itertools.pairwise(LAYERS)
    ):
        with tf.name_scope(scope):
            stddev = 1 / math.sqrt(shape[0])
            weights = tf.Variable(
                tf.truncated_normal(shape, stddev=stddev), name="weights"
            )
            biases = tf.Variable(tf.zeros(shape[1]), name="biases")
            units = tf.matmul(units, weights) + biases
            if scope != "softmax_linear":
                units = tf.nn.relu(units)
    loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=units)
    tf.summary.scalar("loss", loss)
    global_step = tf.Variable(0, name="global_step", trainable=False)
    train_op = tf.train.GradientDescentOptimizer(TASKS["mlp"].learning_rate).minimize(
        loss, global_step=global_step
    )
    correct = tf.nn.in_top_k(units, labels, 1)
    return Network(
        images, labels, loss, train_op, tf.reduce_sum(tf.cast(correct, tf.int32))
    )


def do_eval(session: tf.Session, network: Network, data_set: DataSet) -> None:
    """Evaluates one split and prints its precision."""
    steps = data_set.num_examples // BATCH_SIZE
    correct = sum(
        session.run(network.eval_correct, feed_dict=network.feed(data_set))
        for _ in range(steps)
    )
    total = steps * BATCH_SIZE
    print(
        f"  Num examples: {total}  Num correct: {correct}  "
        f"Precision @ 1: {correct / total:0.04f}"
    )


def run_training(options: argparse.Namespace) -> None:
    """Trains, evaluates, and writes summaries and checkpoints."""
    train, validation, test = map(DataSet, data.load(options.data))
    with tf.Graph().as_default(), tf.Session() as session:
        network = build()
        summary = tf.summary.merge_all()
        saver = tf.train.Saver()
        writer = tf.summary.FileWriter(options.log_dir, session.graph)
        session.run(tf.global_variables_initializer())
        for step in range(options.max_steps):
            begin = time.time()
            feed = network.feed(train)
            _, loss = session.run([network.train_op, network.loss], feed_dict=feed)
            duration = time.time() - begin
            if step % 100 == 0:
                print(f"Step {step}: loss = {loss:.2f} ({duration:.3f} sec)")
                writer.add_summary(session.run(summary, feed_dict=feed), step)
                writer.flush()
            if (step + 1) % 1000 == 0 or step + 1 == options.max_steps:
                checkpoint = os.path.join(options.log_dir, "model.ckpt")
                saver.save(session, checkpoint, global_step=step)
                for name, split in (
                    ("Training", train),
                    ("Validation", validation),
                    ("Test", test),
                ):
                    print(f"{name} Data Eval:")
                    do_eval(session, network, split)


def main() -> None:
    """Runs the script."""
    parser = measuring.parser(__doc__, ["mlp"])
    parser.add_argument("--max_steps", type=int, default=2000)
    parser.add_argument("--log_dir", required=True)
    run_training(parser.parse_args())


if __name__ == "__main__":
    main()
