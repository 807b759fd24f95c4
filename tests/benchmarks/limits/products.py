"""Compute limit: only the eight matrix products of a step.

Three in the forward pass, three for the gradients of the weights and two for those of
the hidden layers, in a while loop of the graph. No biases, activations, loss, update or
data.
"""

from __future__ import annotations

import math
import os

from tests.benchmarks import measuring


def main() -> None:
    """Measures; under mpirun, all processes concurrently."""
    parser = measuring.parser(__doc__, ["mlp"])
    parser.add_argument("--intra_op", type=int, required=True, help="threads")
    parser.add_argument("--inter_op", type=int, required=True, help="threads")
    parser.add_argument("--onednn", type=int, required=True, help="0 or 1")
    options = parser.parse_args()
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = str(options.onednn)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(options.inter_op)

    images = tf.random.uniform((measuring.BATCH_SIZE, measuring.LAYERS[0]))
    shapes = list(zip(measuring.LAYERS, measuring.LAYERS[1:]))
    weights = [
        tf.random.truncated_normal(shape, stddev=1 / math.sqrt(shape[0]))
        for shape in shapes
    ]

    @tf.function
    def run(
        steps: tf.Tensor, images: tf.Tensor, w1: tf.Tensor, w2: tf.Tensor, w3: tf.Tensor
    ) -> tf.Tensor:
        # Loop variables, so that no product is optimized away.
        d1, d2, d3 = tf.zeros_like(w1), tf.zeros_like(w2), tf.zeros_like(w3)
        for _ in tf.range(steps):
            # Sequential steps, as in training.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            hidden1 = tf.matmul(images, w1)
            hidden2 = tf.matmul(hidden1, w2)
            logits = tf.matmul(hidden2, w3)
            d3 = tf.matmul(hidden2, logits, transpose_a=True)
            to_hidden2 = tf.matmul(logits, w3, transpose_b=True)
            d2 = tf.matmul(hidden1, to_hidden2, transpose_a=True)
            to_hidden1 = tf.matmul(to_hidden2, w2, transpose_b=True)
            d1 = tf.matmul(images, to_hidden1, transpose_a=True)
        return d1[0, 0] + d2[0, 0] + d3[0, 0]

    def run_steps(steps: int) -> None:
        barrier()
        run(tf.constant(steps), images, *weights).numpy()
        barrier()

    rank, barrier = _process()
    steps = measuring.timed(run_steps, options)
    if rank == 0:
        measuring.report(**steps)
    barrier()


def _process():
    """Returns the rank of this process and a barrier."""
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        return 0, lambda: None
    from mpi4py import MPI

    return MPI.COMM_WORLD.rank, MPI.COMM_WORLD.Barrier


if __name__ == "__main__":
    main()
