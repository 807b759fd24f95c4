"""The loop of the tutorial: one process, one session call per step."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from tests.benchmarks import data, measuring
from tests.benchmarks.peers import tutorial


def main() -> None:
    """Measures."""
    options = measuring.parser(__doc__, ["mlp"]).parse_args()
    train = tutorial.DataSet(data.load(options.data)[0])
    with tf.Graph().as_default(), tf.Session() as session:
        network = tutorial.build()
        session.run(tf.global_variables_initializer())

        def run_steps(steps: int) -> None:
            for _ in range(steps):
                session.run(
                    [network.train_op, network.loss], feed_dict=network.feed(train)
                )

        measuring.report(**measuring.timed(run_steps, options))


if __name__ == "__main__":
    main()
