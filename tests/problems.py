"""Problems that the invariants are tested on: data sets and networks of several kinds.

The functions are named by --dataset and --model, as a user's would be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distmnist import Config, Dataset, DatasetSpec, create_dataset


class Problem(NamedTuple):
    """A data set and a network.

    Attributes:
        flags: of `Config`, for both runs.
        dataset: --dataset of the run that is compared between numbers of ranks.
        epochs: flags of the run whose examples are counted.
        num_examples: size of its training split.
        dataset_size: size of the other's training split.
        is_measured: whether a step's parts are measured in a run that must not differ.
    """

    flags: dict[str, Any]
    dataset: str
    epochs: dict[str, Any]
    num_examples: int
    dataset_size: int
    is_measured: bool = False


def _own(dataset: str, model: str, size: int, **flags: Any) -> Problem:
    names = {"dataset": f"tests.problems:{dataset}", "model": f"tests.problems:{model}"}
    flags = {"model": names["model"], "max_steps": 12, "momentum": 0.5, **flags}
    dataset = names["dataset"]
    return Problem(flags, dataset, {"dataset": dataset}, size, size)


def _digits(size: int, **flags: Any) -> Problem:
    fake = {"dataset": "fake", "fake_sizes": (size, 10, 10)}
    return Problem(flags, "digits", fake, size, 1297)


# Recipes, in the middle of whose schedules runs are interrupted.
_SCHEDULE = {"lr_schedule": "cosine", "lr_decay_epochs": 2.0, "warmup_steps": 3}
_SGD = {
    **_SCHEDULE,
    "nesterov": True,
    "weight_decay": 1e-3,
    "clip_gradient_norm": 1.0,
    "ema_decay": 0.9,
    "label_smoothing": 0.1,
}
_ADAMW = {
    **_SCHEDULE,
    "optimizer": "adamw",
    "momentum": 0.0,
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "ema_decay": 0.9,
}
_LARS = {**_SCHEDULE, "optimizer": "lars", "learning_rate": 1.0, "weight_decay": 1e-3}

# Sizes of training splits, which no batch size divides. Few steps of the networks with
# poolings and ReLUs: once rounding decides the maximum of a pooling in another way, as
# for the cnn at step 6 of seed 0, the difference is no longer one of rounding.
PROBLEMS = {
    "mlp": _digits(997, model="mlp", hidden1=16, hidden2=8, max_steps=50),
    "cnn": _digits(97, model="cnn", momentum=0.5, max_steps=4, gradient_buckets=3),
    "colors": _own(
        "colors", "normalized", 194, learning_rate=0.02, max_steps=4, **_SGD
    )._replace(is_measured=True),
    "table": _own("table", "regressor", 203, **_ADAMW),
    "sequences": _own("sequences", "embedding", 185, gradient_buckets=2, **_LARS),
}


def colors() -> Dataset:
    """Color images of another size than MNIST's, with augmentation."""
    from distmnist.data import augment

    random = np.random.RandomState(0)
    labels = random.randint(0, 3, 239)
    images = random.randint(0, 150, (239, 9, 7, 3), np.uint8)
    images[np.arange(239), :, :, labels] += 60
    return create_dataset(
        (images, labels),
        class_names=("red", "green", "blue"),
        augment=augment.compose(augment.flip, augment.shift(1)),
    )


def normalized(config: Config, spec: DatasetSpec) -> Any:
    """A Keras model with batch normalization, dropout and a regularizer."""
    import keras

    return keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.SpatialDropout2D(0.2),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(spec.num_classes, kernel_regularizer="l2"),
        ]
    )


def perceptron(config: Config, spec: DatasetSpec) -> Any:
    """A small Keras model with batch normalization and dropout, for any features."""
    import keras

    return keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(64, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(spec.num_classes),
        ]
    )


def table() -> Dataset:
    """A table of numbers, and a number to predict."""
    random = np.random.RandomState(0)
    features = random.randn(250, 5) * [1, 10, 100, 1, 1] + 5
    targets = features @ [300, 20, 1, 0, 50] + 1000
    return create_dataset((features, targets), normalize=True)


def regressor(config: Config, spec: DatasetSpec) -> Any:
    """A Keras model whose first layer is batch normalization."""
    import keras

    return keras.Sequential(
        [
            keras.layers.BatchNormalization(),
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(1),
        ]
    )


def sequences() -> Dataset:
    """Sequences of tokens, with classes that have names."""
    random = np.random.RandomState(0)
    tokens = random.randint(0, 40, (229, 9))
    names = np.where((tokens > 20).sum(axis=1) > 4, "high", "low")
    return create_dataset((tokens, names))


def embedding(config: Config, spec: DatasetSpec) -> Any:
    """A Keras model with an embedding, whose gradient is sparse."""
    import keras

    return keras.Sequential(
        [
            keras.layers.Embedding(40, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(spec.num_classes),
        ]
    )
