"""Mixed precision: computing in bfloat16 or float16, with float32 parameters.

The variables, the loss and the update stay float32 (Micikevicius et al. 2018, "Mixed
Precision Training", arXiv:1710.03740); only the computation between two casts changes.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Cast = Callable[[tf.Tensor], tf.Tensor]

# Loss scaling: gradients of a mean over a batch can be smaller than float16's least
# positive value, 6e-8. A power of two, so that scaling is exact.
_LOSS_SCALE = {tf.float16: 1024.0}


def casts(dtype: tf.DType) -> tuple[Cast, Cast]:
    """Returns the casts around a computation in another type.

    Between them gradients are scaled, if the type needs it: in the backward pass the
    second cast multiplies them, and the first divides them again.

    Args:
        dtype: compute type: tf.float32, tf.bfloat16 or tf.float16.

    Returns:
        A cast from float32 to the type, and one back to float32.
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
