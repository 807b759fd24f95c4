"""SGD, wrapped by Horovod: the tutorial's `training`, for any number of workers."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from distmnist.cluster import Cluster
from distmnist.config import Config


def learning_rate(config: Config, size: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the learning rate of a step.

    N workers average the gradients of N batches, so a step may be N times as
    large (linear scaling), once the first steps are over (warm-up).  Both are of
    Goyal et al. 2017, "Accurate, Large Minibatch SGD", sections 2.1 and 2.2.

    Args:
        config: the rate of one worker, its scaling and the steps of warm-up.
        size: number of workers.
        step: completed steps, an integer scalar.

    Returns:
        The rate, float32 scalar: in `warmup_steps` steps, it rises linearly from
        that of one worker to the scaled one.
    """
    scale = {"linear": size, "sqrt": math.sqrt(size), "none": 1}[config.lr_scaling]
    final = tf.constant(config.learning_rate * scale, tf.float32)
    if not config.warmup_steps:
        return final
    fraction = tf.cast(step, tf.float32) / config.warmup_steps
    start = config.learning_rate
    return start + (final - start) * tf.minimum(fraction, 1.0)


def create(config: Config, cluster: Cluster, global_step: tf.Variable) -> Any:
    """Creates the optimizer: plain SGD on gradients averaged over all ranks.

    Args:
        config: of the run.
        cluster: averages the gradients.
        global_step: completed steps, int64 scalar.

    Returns:
        An optimizer with the interface of `tf.compat.v1.train.Optimizer`.
    """
    # Horovod wraps this optimizer.  Its wrapper of Keras optimizers is older
    # than Keras 3, which comes with TensorFlow 2.18, and averages nothing there.
    sgd = tf.compat.v1.train.GradientDescentOptimizer(
        lambda: learning_rate(config, cluster.size, global_step)
    )
    return cluster.distribute(sgd)
