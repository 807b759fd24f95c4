"""Learning rate schedules: scaling with the number of workers, warm-up, resizing."""

from __future__ import annotations

import math

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp

# Fewest steps in which the learning rate follows a change of the number of ranks.
_RAMP_STEPS = 100


def learning_rate(
    config: Config, size: int, step: tf.Tensor, ramp: Ramp | None = None
) -> tf.Tensor:
    """Returns the learning rate of a step.

    N workers average the gradients of N batches, so a step may be N times as
    large (linear scaling), once the first steps are over (warm-up). Both are from
    Goyal et al. 2017, "Accurate, Large Minibatch SGD", sections 2.1 and 2.2.

    Args:
        config: per-worker learning rate, its scaling and the warm-up steps.
        size: number of workers.
        step: completed steps, an integer scalar.
        ramp: replaces the warm-up, if given.

    Returns:
        The learning rate, float32 scalar: in `warmup_steps` steps, it rises linearly
        from the per-worker rate to the scaled one.
    """
    # Adasum itself decides how far orthogonal gradients add up.
    batches = 1 if config.use_adasum else size * config.backward_passes_per_step
    factors = {"linear": batches, "sqrt": math.sqrt(batches), "none": 1}
    scale = factors[config.lr_scaling]
    final = tf.constant(config.learning_rate * scale, tf.float32)
    ramp = ramp or Ramp(0, config.learning_rate, config.warmup_steps)
    if not ramp.steps:
        return final
    fraction = tf.cast(step - ramp.begin, tf.float32) / ramp.steps
    return ramp.rate + (final - ramp.rate) * tf.minimum(fraction, 1.0)


def resize_ramp(config: Config, old_size: int, progress: Progress) -> Ramp:
    """Returns the ramp from the learning rate of another number of workers.

    Args:
        config: of the run.
        old_size: number of workers before.
        progress: progress at which the number changes.
    """
    rate = learning_rate(config, old_size, progress.step, progress.ramp)
    return Ramp(progress.step, float(rate), max(_RAMP_STEPS, config.warmup_steps))
