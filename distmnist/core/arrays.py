"""Arrays of tensors' values, and their size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

_ALIGNMENT = 64  # bytes, of TensorFlow's own memory, on which its kernels rely


def num_bytes(values: tf.Tensor | tf.Variable) -> int:
    """Returns the size of a tensor or variable in memory.

    Args:
        values: of a known shape.
    """
    size: int = values.shape.num_elements() * values.dtype.size
    return size


def view(values: tf.Tensor | NDArray[Any]) -> NDArray[Any]:
    """Returns values as an array that must not be changed: no copy, if possible.

    `numpy()` always copies. There is no other way for types that NumPy lacks, such as
    bfloat16.

    Args:
        values: tensor, eager; or array, which is returned.
    """
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.asarray(memoryview(values))
    except (TypeError, ValueError, BufferError):
        array: NDArray[Any] = values.numpy()
        return array


def empty(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Returns an array, not initialized, whose memory TensorFlow can use as it is."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def is_aligned(array: NDArray[Any]) -> bool:
    """Returns whether TensorFlow can use the memory of an array as it is."""
    flags = array.flags
    aligned = array.ctypes.data % _ALIGNMENT == 0
    return bool(aligned and flags.c_contiguous and flags.writeable)
