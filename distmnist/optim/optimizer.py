"""SGD, wrapped by Horovod: the tutorial's `training`, for any number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compat.v1 import train as v1

from distmnist.core.config import Config
from distmnist.core.progress import Ramp
from distmnist.distributed.cluster import Cluster


def learning_rate(
    config: Config, size: int, step: tf.Tensor, ramp: Ramp | None = None
) -> tf.Tensor:
    """Returns the learning rate of a step.

    N workers average the gradients of N batches, so a step may be N times as
    large (linear scaling), once the first steps are over (warm-up).  Both are of
    Goyal et al. 2017, "Accurate, Large Minibatch SGD", sections 2.1 and 2.2.

    Args:
        config: the rate of one worker, its scaling and the steps of warm-up.
        size: number of workers.
        step: completed steps, an integer scalar.
        ramp: what takes the place of the warm-up, if anything does.

    Returns:
        The rate, float32 scalar: in `warmup_steps` steps, it rises linearly from
        that of one worker to the scaled one.
    """
    # Adasum decides by itself how far orthogonal gradients add up.
    batches = 1 if config.use_adasum else size * config.backward_passes_per_step
    factors = {"linear": batches, "sqrt": math.sqrt(batches), "none": 1}
    scale = factors[config.lr_scaling]
    final = tf.constant(config.learning_rate * scale, tf.float32)
    ramp = ramp or Ramp(0, config.learning_rate, config.warmup_steps)
    if not ramp.steps:
        return final
    fraction = tf.cast(step - ramp.begin, tf.float32) / ramp.steps
    return ramp.rate + (final - ramp.rate) * tf.minimum(fraction, 1.0)


class _Flat:
    """Makes the gradients one vector, between their computation and their use.

    Horovod sends one tensor as it lies in memory; several it copies together first,
    and apart again, on a thread that competes with those that compute.
    """

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)  # type: ignore[misc]
        gradients, self._variables = zip(*pairs)
        flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
        return [(flat, self._variables[0])]  # the variable lends its name only

    def apply_gradients(
        self, grads_and_vars: list[tuple[Any, Any]], *args: Any, **kwargs: Any
    ) -> Any:
        ((flat, _),) = grads_and_vars
        parts = tf.split(flat, [v.shape.num_elements() for v in self._variables])
        gradients = [tf.reshape(p, v.shape) for p, v in zip(parts, self._variables)]
        pairs = zip(gradients, self._variables)
        apply = super().apply_gradients  # type: ignore[misc]
        return apply(pairs, *args, **kwargs)


class _FlatSgd(_Flat, v1.GradientDescentOptimizer):  # type: ignore[misc]
    pass


class _FlatMomentum(_Flat, v1.MomentumOptimizer):  # type: ignore[misc]
    pass


def _is_flat(config: Config, cluster: Cluster) -> bool:
    # Adasum compares the gradients of each variable, so those must stay apart.
    return cluster.size > 1 and not config.use_adasum


def zero_gradients(
    config: Config, cluster: Cluster, variables: Sequence[tf.Variable]
) -> list[tf.Tensor]:
    """Returns zeros in the form of the gradients that `minimize` returns."""
    if _is_flat(config, cluster):
        return [tf.zeros(sum(v.shape.num_elements() for v in variables))]
    return [tf.zeros(v.shape) for v in variables]


def create(
    config: Config,
    cluster: Cluster,
    rate: Callable[[], tf.Tensor],
    variables: Mapping[str, tf.Variable],
) -> tuple[Any, dict[str, tf.Variable]]:
    """Creates the optimizer: SGD on gradients averaged over all ranks.

    Args:
        config: of the run.
        cluster: averages the gradients.
        rate: gives the learning rate of a step.
        variables: what it will train, by name.

    Returns:
        An optimizer with the interface of `tf.compat.v1.train.Optimizer`, and its own
        variables by name: the momentum of each that it trains, if it has any.
    """
    # Horovod wraps this optimizer.  Its wrapper of Keras optimizers is older
    # than Keras 3, which comes with TensorFlow 2.18, and averages nothing there.
    flat = _is_flat(config, cluster)
    if config.momentum:
        sgd = (_FlatMomentum if flat else v1.MomentumOptimizer)(rate, config.momentum)
    else:
        sgd = (_FlatSgd if flat else v1.GradientDescentOptimizer)(rate)
    # Else the first step would, when a checkpoint has long been restored.
    sgd._create_slots(list(variables.values()))
    slots = {
        f"{slot}/{name}": sgd.get_slot(variable, slot)
        for slot in sgd.get_slot_names()
        for name, variable in variables.items()
    }
    return cluster.distribute(sgd, config.fp16_allreduce, config.use_adasum), slots


# There is nothing in Horovod's Python for AutoGraph to convert, and looking for it
# takes two seconds.
@tf.autograph.experimental.do_not_convert
def minimize(
    optimizer: Any,
    loss: tf.Tensor,
    variables: Sequence[tf.Variable],
    global_step: tf.Variable,
) -> list[tf.Tensor]:
    """Takes one step, as an optimizer's own `minimize` does.

    Args:
        optimizer: of `create`.
        loss: of this rank's batch, float32 scalar.
        variables: what to change.
        global_step: is incremented.

    Returns:
        The gradients, averaged over all ranks.
    """
    gradients = optimizer.compute_gradients(loss, variables)
    optimizer.apply_gradients(gradients, global_step)
    return [gradient for gradient, _ in gradients]


def accumulated_loss(
    loss_of: Callable[[tf.Tensor], tf.Tensor],
    passes: int,
    variables: Sequence[tf.Variable],
) -> tf.Tensor:
    """Returns the mean loss of several batches, at the memory of one.

    Its gradients are computed batch by batch, together with it, so that a
    difference to the loss of all in one is that of rounding.

    Args:
        loss_of: gives the loss of one batch, at its index, int64 scalar.
        passes: number of batches.
        variables: what the loss depends on.
    """

    @tf.custom_gradient
    def mean_loss() -> tuple[tf.Tensor, Callable[..., Any]]:
        total = tf.constant(0.0)
        sums = [tf.zeros_like(variable) for variable in variables]
        for index in tf.range(tf.constant(passes, tf.int64)):
            with tf.GradientTape() as tape:
                loss = loss_of(index)
            total += loss
            sums = [s + g for s, g in zip(sums, tape.gradient(loss, variables))]
        means = {v.ref(): s / passes for v, s in zip(variables, sums)}

        def gradients(dy: tf.Tensor, variables: Sequence[tf.Variable]) -> Any:
            return [], [dy * means[variable.ref()] for variable in variables]

        return total / passes, gradients

    return mean_loss()
