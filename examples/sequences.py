"""Classifies sequences of characters with an embedding: are the brackets balanced?

Usage: [mpirun -np 2] python examples/sequences.py LOG_DIR
"""

import random
import sys

import numpy as np

import distmnist

LENGTH = 12


def brackets() -> distmnist.Dataset:
    """Returns sequences of "(" and ")", and whether they never close too many."""
    generator = random.Random(0)
    texts = ["".join(generator.choices("()", k=LENGTH)) for _ in range(3000)]

    def closes_too_many(text: str) -> bool:
        return min(text[:n].count("(") - text[:n].count(")") for n in range(13)) < 0

    tokens = np.array([["()".index(character) for character in t] for t in texts])
    targets = ["wrong" if closes_too_many(text) else "right" for text in texts]
    return distmnist.create_dataset((tokens, targets), name="brackets")


def embedding(spec: distmnist.DatasetSpec):
    """Returns a Keras model: an embedding, and two layers."""
    import keras

    return keras.Sequential(
        [
            keras.layers.Embedding(2, 8),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(spec.num_classes),
        ]
    )


def main(log_dir: str) -> None:
    """Trains for ten epochs."""
    config = distmnist.Config(
        momentum=0.9, learning_rate=0.05, batch_size=20, num_epochs=10, log_dir=log_dir
    )
    run = distmnist.fit(config, dataset=brackets(), network=embedding)
    print(f"classes {run.dataset.spec.class_names}, accuracy {run.precision['test']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
