"""Horovod's example tensorflow2_mnist.py: one `tf.function` call per step.

The tf.data pipeline, DistributedGradientTape and the Keras model and optimizer are
those of the example. The batch size and SGD are those of all contenders, and the
pipeline prefetches.
"""

from __future__ import annotations

import horovod.tensorflow as hvd
import keras
import numpy as np
import tensorflow as tf

from tests.benchmarks import data, measuring
from tests.benchmarks.peers import keras_network


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    hvd.init()
    train = data.load(options.data)[0]
    dataset = tf.data.Dataset.from_tensor_slices(
        (train.images.astype(np.float32) / 255, train.labels)
    )
    dataset = dataset.repeat().shuffle(10000).batch(measuring.BATCH_SIZE)
    batches = iter(dataset.prefetch(tf.data.AUTOTUNE))

    model = keras_network.build(options.model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras_network.optimizer(options.model)
    optimizer.build(model.trainable_variables)
    # Horovod requires the TensorFlow variables inside those of Keras 3.
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function
    def training_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        tape = hvd.DistributedGradientTape(tape)
        gradients = tape.gradient(value, variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return value

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            value = training_step(*next(batches))
        value.numpy()

    hvd.broadcast_variables(variables, root_rank=0)
    steps = measuring.timed(run_steps, options)
    if hvd.rank() == 0:
        measuring.report(**steps)
    hvd.join()  # end together


if __name__ == "__main__":
    main()
