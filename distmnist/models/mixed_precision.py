"""Computing in another type than the parameters': bfloat16, float16.

The variables, the loss and the update stay float32 ("mixed precision", Micikevicius
et al. 2018, arXiv:1710.03740); only what lies between two casts changes.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Cast = Callable[[tf.Tensor], tf.Tensor]

# Gradients of a mean over a batch are small, and float16 ends at 6e-8: they are
# computed so many times larger.  A power of two, so that no bit is lost by it.
_LOSS_SCALE = {tf.float16: 1024.0}


def casts(dtype: tf.DType) -> tuple[Cast, Cast]:
    """Returns the casts that enclose what is computed in a type.

    Between them gradients are scaled, where the type needs it: the second cast
    multiplies those that come back through it, the first divides them again.

    Args:
        dtype: tf.float32, tf.bfloat16 or tf.float16.

    Returns:
        A cast from float32 to the type, and one back.
    """
    if dtype == tf.float32:
        return tf.convert_to_tensor, tf.identity
    scale = _LOSS_SCALE.get(dtype, 1.0)

    @tf.custom_gradient
    def into(x: tf.Tensor) -> tuple[tf.Tensor, Cast]:
        return tf.cast(x, dtype), lambda dy: tf.cast(dy, tf.float32) / scale

    @tf.custom_gradient
    def out_of(x: tf.Tensor) -> tuple[tf.Tensor, Cast]:
        return tf.cast(x, tf.float32), lambda dy: tf.cast(dy * scale, dtype)

    return lambda x: into(tf.convert_to_tensor(x)), out_of
