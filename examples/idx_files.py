"""Trains on the four IDX files of Fashion-MNIST, EMNIST, KMNIST or another such set.

Usage: [mpirun -np 2] python examples/idx_files.py DIRECTORY LOG_DIR
"""

import sys

import distmnist


def main(directory: str, log_dir: str) -> None:
    """Trains the convolutional network for two epochs."""
    config = distmnist.Config(
        dataset=directory,
        model="cnn",
        momentum=0.9,
        learning_rate=0.02,
        batch_size=50,
        num_epochs=2,
        log_dir=log_dir,
    )
    run = distmnist.fit(config)
    print(f"{run.dataset.spec.num_classes} classes, accuracy {run.precision['test']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
