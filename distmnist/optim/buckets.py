"""Gradient buckets: what is sent together, while other gradients are still computed.

The members of each bucket are fixed, so that sums round the same way in every run. What
Horovod fuses by itself depends on when each gradient happens to be ready.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from distmnist.core.config import Config

# Buckets that hide sending behind computing: of 24 MB at 1 Gbit/s, 8 hide four fifths
# (tests/benchmarks/overlap). Not measured on a GPU.
_HIDING_BYTES, _MOST = 2**22, 16
# Gradients are copied into their bucket, and back: what is larger takes memory twice.
_COPIED_BYTES = 2**26


def count(config: Config, num_bytes: int, on_gpu: bool) -> int:
    """Returns the number of buckets that a run's gradients are sent in.

    Args:
        config: `gradient_buckets`, if that is not 0, decides.
        num_bytes: of all gradients.
        on_gpu: whether gradients are computed on a GPU.
    """
    if config.gradient_buckets:
        return config.gradient_buckets
    least = max(1, round(num_bytes / _COPIED_BYTES))
    # Sending takes the CPU's time, which a backward pass on the CPU needs itself. XLA
    # returns all gradients at once.
    if not on_gpu or config.xla:
        return least
    return max(least, min(_MOST, round(num_bytes / _HIDING_BYTES)))


def split(gradients: Sequence[tf.Tensor], buckets: int) -> list[list[int]]:
    """Returns the indices of the gradients in each bucket, in the order of tracing.

    That is the order of computation, but for the last of several accumulated batches.

    Args:
        gradients: in a graph, in the order of their variables.
        buckets: the most buckets; all are about the same size.
    """
    if buckets == 1:
        return [list(range(len(gradients)))]
    # Operations are numbered as the backward pass was traced. Outputs of one operation
    # follow its inputs; the last variables' gradients are computed first.
    traced = {op: i for i, op in enumerate(gradients[0].graph.get_operations())}
    order = sorted(range(len(gradients)), key=lambda i: (traced[gradients[i].op], -i))
    sizes = [gradient.shape.num_elements() for gradient in gradients]
    members: list[list[int]] = [[] for _ in range(buckets)]
    before, total = 0, sum(sizes)
    for index in order:
        middle = before + sizes[index] / 2
        members[min(buckets - 1, int(middle * buckets / total))].append(index)
        before += sizes[index]
    return [bucket for bucket in members if bucket]
