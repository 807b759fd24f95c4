"""`tf.distribute.MultiWorkerMirroredStrategy` with a custom training loop.

It follows TensorFlow's guide *Custom training loop with Keras and
MultiWorkerMirroredStrategy*: TF_CONFIG lists the workers, the data set is distributed,
and a `tf.function` runs the step on every worker. The program starts its own workers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

from tests.benchmarks import data, measuring


def main() -> None:
    """Starts the workers, or measures as one of them."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if "TF_CONFIG" not in os.environ:
        sys.exit(start(options.workers))

    import keras
    import numpy as np
    import tensorflow as tf
    from tensorflow.compat.v1 import train as v1

    from tests.benchmarks.peers import keras_network

    task = measuring.TASKS[options.model]
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    global_batch = measuring.BATCH_SIZE * strategy.num_replicas_in_sync
    train = data.load(options.data)[0]
    dataset = tf.data.Dataset.from_tensor_slices(
        (train.images.astype(np.float32) / 255, train.labels)
    )
    dataset = dataset.shuffle(10000).repeat().batch(global_batch)
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    batches = iter(
        strategy.experimental_distribute_dataset(dataset.with_options(sharding))
    )
    with strategy.scope():
        model = keras_network.build(options.model)
        optimizer = (
            v1.MomentumOptimizer(task.learning_rate, task.momentum)
            if task.momentum
            else v1.GradientDescentOptimizer(task.learning_rate)
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True)) / global_batch
        variables = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(value, variables)
        # Sums the gradients of all workers.
        optimizer.apply_gradients(zip(gradients, variables))
        return value

    @tf.function
    def train_step(batches):
        return strategy.run(step, args=next(batches))

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            value = train_step(batches)
        strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None).numpy()

    steps = measuring.timed(run_steps, options)
    if strategy.cluster_resolver.task_id == 0:
        measuring.report(**steps)


def start(workers: int) -> int:
    """Starts one process of this program per worker.

    Args:
        workers: Number of workers.

    Returns:
        The exit status of the first worker; the others are killed when it ends.
    """
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(workers):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": addresses}, "task": task}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, *sys.argv[1:]],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
            )
        )
    chief, *others = processes
    while chief.poll() is None and not any(other.poll() for other in others):
        time.sleep(0.1)
    for process in processes:  # the remaining ones; all, if one failed
        process.kill()
    return chief.wait()


if __name__ == "__main__":
    main()
