"""Keras layers in a network: their variables, their losses, and N ranks as one.

Keras is imported by the user's network, if at all. Three things of its layers depend
on the rank that runs them, and are replaced, or refused by name:

* Batch normalization averages over a rank's own examples. Here it averages over the
  global batch, with gradients; with --batch_norm=local over the rank's own, and the
  moving averages are then averaged.
* Dropout draws from a seed that counts calls, the same on each rank. Here it draws
  from the seed of the run and each example's position, as `dropout.dropout` does.
* Other layers that draw random numbers are refused, when they do: see `generators`.
"""

from __future__ import annotations

import collections
import random
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models import dropout

# Indices of draws of Keras' layers; a network's own calls of `dropout` have lower ones.
_FIRST_DRAW = 2**16
_NEXT_CALL = 2**20  # between the draws of two calls of one layer


def is_layer(value: object) -> bool:
    """Returns whether a value is a Keras layer or model."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.layers.Layer)


class KerasLayers:
    """The Keras layers that are attributes of a network.

    Attributes:
        statistics: moving averages that each rank computes of its own examples.
    """

    def __init__(self, layers: Mapping[str, Any]):
        """Changes nothing yet.

        Args:
            layers: the outermost layers, by the path of their attribute.

        Raises:
            InputError: Keras computes with another library than TensorFlow.
        """
        backend = sys.modules["keras"].backend.backend()
        if backend != "tensorflow":
            raise InputError(
                f"Keras computes with {backend}; set KERAS_BACKEND=tensorflow in the "
                "environment"
            )
        self._layers = layers
        self._position: tf.Tensor | None = None
        self._batch: tf.Tensor | None = None  # of which Dropout gets as many rows
        self._calls: collections.Counter[int] = collections.Counter()
        self.statistics: list[tf.Variable] = []

    def check_features(self, spec: DatasetSpec) -> None:
        """Has embeddings refuse bytes, which are scaled: all would be index 0.

        Args:
            spec: of the data set.
        """
        if spec.feature_dtype != "uint8":
            return
        for layer in self._flat():
            if isinstance(layer, sys.modules["keras"].layers.Embedding):
                layer.call = _refusing_numbers(layer)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All variables but the states of random generators, by name."""
        return {name: weight.value for name, weight in self._weights()}

    @property
    def frozen(self) -> set[str]:
        """Names of the variables that are not trained."""
        return {name for name, weight in self._weights() if not weight.trainable}

    def _weights(self) -> Iterator[tuple[str, Any]]:
        """Yields each of Keras' variables, under a name that is the same in each run.

        Keras numbers layers through a whole process: `dense_7`. Here they are numbered
        from the first layer of the network.
        """
        seen: set[int] = set()
        names = _Renumbered()
        for prefix, layer in self._layers.items():
            for weight in layer.weights:
                if id(weight) not in seen:
                    seen.add(id(weight))
                    yield names.rename(prefix, layer.name, weight), weight

    @property
    def generators(self) -> dict[int, str]:
        """Names of the layers that draw from a generator, by its state's handle.

        Its state counts calls, and so depends on the number of ranks.
        """
        return {
            id(generator.state.value.handle): layer.name
            for layer in self._flat()
            for generator in layer._seed_generators
        }

    def _flat(self) -> list[Any]:
        """Returns all layers, those in other layers too, each once."""
        flat = [
            layer
            for outermost in self._layers.values()
            for layer in outermost._flatten_layers()
        ]
        return list(dict.fromkeys(flat))

    def enter(self, features: tf.Tensor, position: tf.Tensor | None) -> None:
        """Prepares for a call of the network.

        Args:
            features: of the batch.
            position: of the batch, in training; None otherwise.
        """
        self._batch, self._position = features, position
        self._calls.clear()
        for layer in self._layers.values():
            layer._clear_losses()

    def losses(self) -> list[tf.Tensor]:
        """Returns the regularization losses since `enter`."""
        return [loss for layer in self._layers.values() for loss in layer.losses]

    def make_rank_invariant(self, config: Config, cluster: Cluster) -> None:
        """Has layers compute the same for any number of ranks.

        Args:
            config: seed, and how batch normalization averages.
            cluster: the ranks.

        Raises:
            InputError: there is no such way for a layer.
        """
        keras = sys.modules["keras"]
        for index, layer in enumerate(self._flat()):
            if getattr(layer, "stateful", False):
                raise InputError(
                    f"Keras layer {layer.name}: keeps states of a batch for the next "
                    "one (stateful=True), but batches and their sizes depend on the "
                    "number of ranks; leave it out"
                )
            if isinstance(layer, keras.layers.Dropout):  # spatial dropout is, too
                layer.call = self._dropout(layer, config.seed, _FIRST_DRAW + index)
            if isinstance(layer, keras.layers.BatchNormalization) and cluster.size > 1:
                self._normalize_globally(layer, config, cluster)

    def _dropout(self, layer: Any, seed: int, draw: int) -> Any:
        def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
            if not training or layer.rate == 0 or self._position is None:
                return inputs
            if layer.rate == 1:
                return tf.zeros_like(inputs)
            spatial = hasattr(layer, "_get_noise_shape")
            shape = layer._get_noise_shape(inputs) if spatial else layer.noise_shape
            call = draw + _NEXT_CALL * self._calls[draw]
            self._calls[draw] += 1
            position = self._position * self._rows(layer, inputs)
            return dropout.dropout_like(
                *(inputs, layer.rate, shape, seed, position, call)
            )

        return call

    def _rows(self, layer: Any, inputs: tf.Tensor) -> Any:
        """Returns the number of rows that a layer's inputs have of each example."""
        assert self._batch is not None  # between calls of the network
        rows, batch = inputs.shape[0], self._batch.shape[0]
        if rows is None or batch is None:
            return tf.cast(tf.shape(inputs)[0] // tf.shape(self._batch)[0], tf.int64)
        if rows % batch:
            raise InputError(
                f"Keras layer {layer.name}: its inputs have the shape {inputs.shape}, "
                f"but a batch has {batch} examples; they must come first, so that each "
                "has its own random numbers"
            )
        return rows // batch

    def _normalize_globally(self, layer: Any, config: Config, cluster: Cluster) -> None:
        if config.batch_norm == "local":
            self.statistics += [
                layer.moving_mean.value,
                layer.moving_variance.value,
            ]
            return
        for wrong, what in (
            (getattr(layer, "renorm", False), "renorm=True"),  # none in Keras 3.12
            (config.backward_passes_per_step > 1, "--backward_passes_per_step"),
            (config.xla, "--xla"),
        ):
            if wrong:
                raise InputError(
                    f"Keras layer {layer.name}: batch normalization over the examples "
                    f"of all ranks does not work with {what}; give --batch_norm=local, "
                    "or one rank"
                )
        # Not those of an earlier run, which the layer of this model may have.
        own_moments = type(layer)._moments.__get__(layer)

        def moments(inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
            if mask is not None:
                raise InputError(
                    f"Keras layer {layer.name}: batch normalization over the examples "
                    "of all ranks takes no mask; give --batch_norm=local, or one rank"
                )
            # Reading a variable orders this step's collective after the last step's,
            # which changed it: of inputs that depend on none, they might overlap.
            with tf.control_dependencies([layer.moving_mean.value.read_value()]):
                inputs = tf.identity(inputs)
            mean, variance = own_moments(inputs, None)
            return _global_moments(mean, variance, cluster)

        layer._moments = moments


def reseed(layer: Any) -> None:
    """Draws the seeds of initial values again, from Python's generator.

    Keras draws them when a layer is created: before a run, which has a seed, begins.

    Args:
        layer: what of it has values already, or a seed of the user's, keeps them.
    """
    for each in layer._flatten_layers():
        for value in () if each.built else vars(each).values():
            if getattr(value, "_init_seed", 0) is None:
                value.seed = random.randint(1, 10**9)


def _refusing_numbers(layer: Any) -> Any:
    own = type(layer).call.__get__(layer)

    def call(inputs: tf.Tensor) -> tf.Tensor:
        if tf.convert_to_tensor(inputs).dtype.is_floating:
            raise InputError(
                f"Keras layer {layer.name}: takes indices, but features of uint8 are "
                "scaled, as images are; give the data set indices of int32"
            )
        return own(inputs)

    return call


def _global_moments(
    mean: tf.Tensor, variance: tf.Tensor, cluster: Cluster
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the moments of all ranks' examples, from those of each, equally many.

    From the mean of squares and the square of the mean, small variances would not be
    exact.
    """
    means, variances = tf.unstack(
        cluster.allgather_tensor(tf.stack([mean, variance])), axis=1
    )
    mean = tf.reduce_mean(means, axis=0)
    variance = tf.reduce_mean(variances + tf.square(means - mean), axis=0)
    return mean, variance


class _Renumbered:
    """Numbers names from the first: `dense_7`, `dense_9` become `dense`, `dense_1`."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}  # by prefix and Keras' name
        self._counts: dict[tuple[str, str], int] = {}
        self._taken: collections.Counter[str] = collections.Counter()

    def rename(self, prefix: str, outermost: str, weight: Any) -> str:
        """Returns the name of a variable.

        Args:
            prefix: what precedes it: the attribute of the outermost layer.
            outermost: Keras' name of that layer, which is left out.
            weight: Keras' variable.
        """
        *layers, name = weight.path.split("/")
        if layers and layers[0] == outermost:
            layers = layers[1:]
        for layer in layers:
            prefix = self._number(prefix, layer)
        full = f"{prefix}/{name}" if prefix else str(name)
        # Keras allows layers of one name in different models.
        self._taken[full] += 1
        count = self._taken[full] - 1
        return f"{full}_{count}" if count else full

    def _number(self, prefix: str, name: str) -> str:
        if (prefix, name) not in self._names:
            base = re.sub(r"_\d+$", "", name)
            count = self._counts.get((prefix, base), 0)
            self._counts[prefix, base] = count + 1
            self._names[prefix, name] = f"{base}_{count}" if count else base
        new = self._names[prefix, name]
        return f"{prefix}/{new}" if prefix else new
