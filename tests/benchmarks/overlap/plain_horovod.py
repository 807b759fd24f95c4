"""Horovod's own way: an allreduce of each gradient, fused by Horovod."""

from __future__ import annotations

import horovod.tensorflow as hvd
import tensorflow as tf

from tests.benchmarks import measuring
from tests.benchmarks.overlap import backward, network


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    parser = measuring.parser(__doc__)
    backward.add_arguments(parser)
    options = parser.parse_args()
    hvd.init()
    layers = network.create(options.kind, options.layer_ms, options.megabytes)
    weights = [weight for weight, _ in layers]

    @tf.function
    def step() -> None:
        with hvd.DistributedGradientTape(tf.GradientTape()) as tape:
            loss = network.run(layers, tf.constant(1.0))
        for weight, gradient in zip(weights, tape.gradient(loss, weights)):
            weight.assign_sub(0.1 * gradient)

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            step()

    steps = measuring.timed(run_steps, options)
    if hvd.rank() == 0:
        measuring.report(**steps)


if __name__ == "__main__":
    main()
