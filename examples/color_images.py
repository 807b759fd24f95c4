"""Trains a Keras model with batch normalization on a directory of images by class.

Usage: [mpirun -np 2] python examples/color_images.py DIRECTORY LOG_DIR

Any number of workers compute the same: batch normalization averages over the examples
of all, and dropout depends on each example's position in the stream of examples.
"""

import sys

import distmnist


def convolutional(spec: distmnist.DatasetSpec):
    """Returns a Keras model for images of any size, and any classes."""
    import keras

    return keras.Sequential(
        [
            keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(spec.num_classes),
        ]
    )


def main(directory: str, log_dir: str) -> None:
    """Trains for ten epochs."""
    config = distmnist.Config(
        dataset=directory,
        image_size=(24, 24),
        momentum=0.9,
        learning_rate=0.05,
        batch_size=16,
        num_epochs=10,
        log_dir=log_dir,
    )
    run = distmnist.fit(config, network=convolutional)
    print(f"classes {run.dataset.spec.class_names}, accuracy {run.precision['test']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
