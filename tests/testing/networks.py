"""Networks that are right, and networks that would be silently wrong."""

from __future__ import annotations

import os
import time

import keras
import numpy as np
import tensorflow as tf

from distmnist import Config, Dataset, DatasetSpec, Network, create_dataset
from distmnist.data import augment
from distmnist.models.dropout import dropout
from distmnist.testing import Problem

_random = np.random.RandomState(0)

# Keras numbers its layers: this rank's names are others than those of the other ranks.
if os.environ.get("OMPI_COMM_WORLD_RANK") == "1":
    keras.Sequential([keras.layers.BatchNormalization(), keras.layers.Dense(1)])
POINTS = create_dataset(
    (_random.rand(90, 4).astype(np.float32), _random.randint(0, 3, 90)), num_classes=3
)
COLORS = create_dataset(
    (_random.randint(0, 256, (80, 8, 8, 3), np.uint8), _random.randint(0, 4, 80)),
    num_classes=4,
)
WORDS = create_dataset(
    (_random.randint(0, 50, (80, 6)), _random.randint(0, 2, 80)), num_classes=2
)
HOUSES = create_dataset(
    (_random.rand(80, 5).astype(np.float32), 100 * _random.rand(80)), normalize=True
)
MOMENTUM = Config(momentum=0.9, learning_rate=0.02)


class Linear(Network):
    """A linear network; the others change one thing of it."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.seed = config.seed
        self.weights = tf.Variable(self.start([spec.num_features, 3]), name="weights")

    def start(self, shape: list[int]) -> tf.Tensor:
        return tf.random.stateless_normal(shape, [self.seed, 0])

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        return tf.matmul(self.units(features, position), self.weights)

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        return features


# Right.


class CheckedOnRank1(Linear):
    """Has more in its graph on one rank."""

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        if os.environ.get("OMPI_COMM_WORLD_RANK") == "1":
            tf.debugging.assert_less(tf.reduce_max(features), 1e6)
        return super().__call__(features, position)


class Own(Linear):
    """Dropout, a loss for each example, a metric, a moving mean of all ranks."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.mean = tf.Variable(tf.zeros([4]), trainable=False, name="mean")
        self.layers = [
            {"scale": tf.Variable(tf.ones([4]), name="scale")},
        ]

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        if position is not None:
            mean = self.mean_over_ranks(tf.reduce_mean(features, axis=0))
            self.mean.assign(0.9 * self.mean + 0.1 * mean)
            features = dropout(features, 0.3, self.seed, position)
        return self.scaled(features - self.mean)

    @tf.function
    def scaled(self, features: tf.Tensor) -> tf.Tensor:
        return features * self.layers[0]["scale"]

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)

    def metrics(
        self, outputs: tf.Tensor, targets: tf.Tensor
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        right = tf.cast(tf.math.in_top_k(targets, outputs, 2), tf.float32)
        return {"top_2": (tf.reduce_sum(right), tf.size(right))}


def keras_images(config: Config, spec: DatasetSpec) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(spec.feature_shape),
            keras.layers.Conv2D(4, 3, kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.SpatialDropout2D(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(spec.num_classes),
        ]
    )


def keras_embedding(config: Config, spec: DatasetSpec) -> keras.Model:
    tokens = keras.Input(spec.feature_shape, dtype="int32")
    units = keras.layers.Embedding(50, 8)(tokens)
    attended = keras.layers.MultiHeadAttention(2, 4, dropout=0.2)(units, units)
    units = keras.layers.LayerNormalization()(units + attended)
    units = keras.layers.GRU(6)(units)
    return keras.Model(tokens, keras.layers.Dense(spec.num_classes)(units))


def keras_regression(config: Config, spec: DatasetSpec) -> keras.Model:
    return keras.Sequential(
        [
            keras.layers.Dense(config.hparams.get("units", 8), activation="tanh"),
            keras.layers.Dense(1),
        ]
    )


class OwnEmbedding(Network):
    """An embedding whose gradient is sparse."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        start = tf.random.stateless_normal([50, 4], [config.seed, 1])
        self.table = tf.Variable(start, name="table")
        self.linear = tf.Variable(tf.ones([4, 2]) * [1.0, 2.0], name="linear")

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        words = tf.nn.embedding_lookup(self.table, features)
        return tf.matmul(tf.reduce_mean(words, axis=1), self.linear)


def colors() -> Dataset:
    """A data set that is augmented."""
    changes = augment.compose(augment.flip, augment.shift(1), augment.crop(7, 7))
    return Dataset(**{**vars(COLORS), "augment": changes})


# Wrong.


class MovingMeanByRank(Own):
    """Its moving mean is of the rank's own examples."""

    def mean_over_ranks(self, value: tf.Tensor) -> tf.Tensor:
        return value


class SummedLoss(Linear):
    """Its loss is a sum over the batch."""

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        )


class LossOfBatchSize(Linear):
    """Its loss is divided by the square root of the size of the batch."""

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        size = tf.cast(tf.size(losses), tf.float32)
        return tf.reduce_sum(losses) / tf.sqrt(size)


class ContrastiveLoss(Linear):
    """Its loss compares the examples of a batch."""

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        same = tf.cast(targets[:, None] == targets[None], tf.float32)
        likeness = tf.matmul(outputs, outputs, transpose_b=True)
        return tf.reduce_mean(tf.square(likeness - same), axis=1)


class NormalizedByBatch(Linear):
    """Divides by the greatest feature of the batch."""

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        return features - tf.reduce_mean(features, axis=0)


class UnseededDropout(Linear):
    """Drops other units on each rank."""

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        return features if position is None else tf.nn.dropout(features, 0.5)


class SeedAloneDropout(Linear):
    """Has the same mask on each rank."""

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        if position is None:
            return features
        seed = tf.stack([tf.constant(self.seed, tf.int64), position])
        return tf.nn.experimental.stateless_dropout(features, 0.5, seed)


def keras_noise(config: Config, spec: DatasetSpec) -> keras.Model:
    return keras.Sequential(
        [keras.layers.GaussianNoise(0.5), keras.layers.Dense(spec.num_classes)]
    )


def keras_recurrent_dropout(config: Config, spec: DatasetSpec) -> keras.Model:
    return keras.Sequential(
        [
            keras.layers.Embedding(50, 4),
            keras.layers.LSTM(4, dropout=0.5),
            keras.layers.Dense(spec.num_classes),
        ]
    )


class Closure(Linear):
    """A variable in a closure: not trained, not saved."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        bias = tf.Variable(tf.zeros([3]), name="bias")
        self.add = lambda values: values + bias

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        return self.add(super().__call__(features, position))


class KerasClosure(Closure):
    """A Keras layer in a closure."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        layer = keras.layers.Dense(3, name="hidden")
        layer.build([None, 3])
        self.add = lambda values: layer(values)


_start = np.random.default_rng().normal(size=(4, 3)).astype(np.float32)


class DrawnAtImport(Linear):
    """Starts with values that are other ones in each process."""

    def start(self, shape: list[int]) -> tf.Tensor:
        return tf.constant(_start)


class DrawnByTime(Linear):
    """Starts with values that depend on the time."""

    def start(self, shape: list[int]) -> tf.Tensor:
        return tf.ones(shape) * (time.time() % 1000)


class Unused(Linear):
    """Has a variable that it does not use."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.spare = tf.Variable(tf.zeros([3]), name="spare")


class OrderOfASet(Linear):
    """Creates variables in an order that is another one in each process."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        names = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
        self.scales = [tf.Variable(tf.ones([4]), name=name) for name in names]

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        for power, scale in enumerate(self.scales):
            features = features * scale**power
        return features


class MoreOnRank1(Linear):
    """Has a variable more on one rank."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "1":
            self.more = tf.Variable(tf.ones([4]), name="more")


class DrawnAtTrace(Linear):
    """Adds noise that NumPy draws when the graph is made."""

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        return features + np.random.normal(size=4).astype(np.float32)


class DrawnInPython(Linear):
    """Adds noise that NumPy draws in each step."""

    def units(self, features: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
        noise = tf.numpy_function(
            lambda: np.random.normal(size=4).astype(np.float32), [], tf.float32
        )
        return features + tf.ensure_shape(noise, [4])


class MeanMetric(Linear):
    """Returns a mean as a metric."""

    def metrics(
        self, outputs: tf.Tensor, targets: tf.Tensor
    ) -> dict[str, tuple[tf.Tensor, float]]:
        return {"mean_output": (tf.reduce_mean(outputs), 1.0)}


class RandomLoss(Linear):
    """Adds noise in its loss."""

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        noise = tf.random.normal(tf.shape(outputs))
        return super().loss(outputs + noise, targets)


def randomly_flipped() -> Dataset:
    def flip(images: tf.Tensor, random: object) -> tf.Tensor:
        return tf.image.random_flip_left_right(images)

    return Dataset(**{**vars(COLORS), "augment": flip})


RIGHT = {
    "mlp": Problem("mlp", "digits", Config(hidden1=16, hidden2=8)),
    "cnn": Problem("cnn", "digits", MOMENTUM),
    "own": Problem(Own, POINTS, MOMENTUM),
    "checked": Problem(CheckedOnRank1, POINTS),
    "keras images": Problem(keras_images, colors, MOMENTUM),
    "keras embedding": Problem(keras_embedding, WORDS),
    "embedding": Problem(OwnEmbedding, WORDS, MOMENTUM),
    "regression": Problem(keras_regression, HOUSES, Config(hparams={"units": 5})),
}

# The variable or layer, and the reason.
WRONG = {
    "moving mean": (MovingMeanByRank, POINTS, "variable mean", "mean_over_ranks"),
    "summed": (SummedLoss, POINTS, "SummedLoss", "is the sum of its halves' losses"),
    "batch size": (LossOfBatchSize, POINTS, "LossOfBatchSize", "those of its halves"),
    "contrastive": (ContrastiveLoss, POINTS, "Contrast", "those of its halves"),
    "batch mean": (NormalizedByBatch, POINTS, "Normaliz", "the others of its batch"),
    "unseeded": (
        UnseededDropout,
        POINTS,
        "networks.py:",
        "random numbers on each rank",
    ),
    "same mask": (SeedAloneDropout, POINTS, "SeedAlone", "draw random numbers at the"),
    "noise": (keras_noise, POINTS, "gaussian_noise", "random"),
    "lstm": (keras_recurrent_dropout, WORDS, "lstm", "random"),
    "closure": (Closure, POINTS, "bias", "create it in __init__, as an attribute"),
    "keras closure": (KerasClosure, POINTS, "hidden/bias", "as an attribute"),
    "import": (DrawnAtImport, POINTS, "variable weights", "initial value is another"),
    "time": (DrawnByTime, POINTS, "variable weights", "initial value is another"),
    "unused": (Unused, POINTS, "variable spare", "the loss does not depend on it"),
    "order": (OrderOfASet, POINTS, "OrderOfASet", "order"),
    "more": (MoreOnRank1, POINTS, "number of the network's variables", "on all ranks"),
    "trace": (DrawnAtTrace, POINTS, "DrawnAtTrace", "Python's or NumPy's random"),
    "python": (DrawnInPython, POINTS, "DrawnInPython", "tf.numpy_function"),
    "metric": (MeanMetric, POINTS, "metric mean_output", "not a mean"),
    "random loss": (RandomLoss, POINTS, "networks.py:", "random numbers on each rank"),
    "flip": (
        keras_images,
        randomly_flipped,
        "networks.py:",
        "random numbers on each rank",
    ),
}
