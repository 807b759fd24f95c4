"""The interface of networks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from distmnist.core import autograph
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import tensors
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models import graph_checks, losses, own_methods
from distmnist.models.keras_layers import KerasLayers, is_layer


class Network(tf.Module):  # type: ignore[misc]
    """Maps features to outputs. Subclass it for a network of your own.

    docs/data-and-networks.md has an example, and what it must do so that N workers
    compute what one does. Its variables and its Keras layers are attributes, also in
    lists and dictionaries. What it creates depends on the configuration and the spec
    alone.

    Attributes:
        spec: shapes and classes of the data set.
    """

    spec: DatasetSpec

    def __init__(self, config: Config, spec: DatasetSpec | None = None):
        """Creates the variables.

        A subclass takes `spec` too, by that name. One that takes the configuration
        alone gets its features flat, float32 [batch, num_features].

        Args:
            config: run configuration: seed, layer sizes, compute type, hparams.
            spec: shapes and classes of the data set.

        Raises:
            InputError: the network does not support these shapes.
        """
        super().__init__()
        self._takes_flat_features = False
        self._keras: KerasLayers | None = None
        self._cluster = Cluster()
        self._label_smoothing = 0.0
        if spec is not None:
            self.spec = spec

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits, or for targets that are numbers their normalized values.

        Args:
            features: float32 [batch, *feature_shape], normalized as the spec says; or
                int32, if the spec's features are.
            position: in training, the position of the batch's first example in the
                stream of training examples, int64 scalar, at least 0; the others
                follow it. Randomness must depend on it and the seed alone, as in
                `dropout.dropout`, so that N ranks compute what one rank computes. None
                in evaluation and inference.

        Returns:
            float32 [batch, num_classes], or [batch, *target_shape] for numbers.
        """
        raise NotImplementedError

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the loss: softmax cross-entropy, or squared error for numbers.

        Override it for another one. It must be a mean over examples.

        Args:
            outputs: of `__call__`.
            targets: int32 [batch, *target_shape]; float32, normalized, for numbers.

        Returns:
            The mean over the batch, float32 scalar; or the loss of each example,
            [batch].
        """
        if self.spec.num_classes is None:
            return losses.mean_squared_error(outputs, targets)
        return losses.loss(outputs, targets)

    def metrics(
        self, outputs: tf.Tensor, targets: tf.Tensor
    ) -> Mapping[str, tuple[tf.Tensor, tf.Tensor]]:
        """Returns further metrics of a batch; accuracy is always counted for classes.

        Override it for others. Each is the quotient of two sums, which are added up
        over batches and ranks, so that it is exact for the whole split.

        Args:
            outputs: of `__call__`; numbers in the units of the targets.
            targets: as in the data set.

        Returns:
            The sum over the batch and its weight (number of examples), by name. For
            numbers: mean absolute and mean squared error.
        """
        if (
            self.spec.num_classes is not None
            or outputs.shape.rank != targets.shape.rank
        ):
            return {}
        return losses.regression_errors(outputs, targets)

    @classmethod
    def step_flops(cls, config: Config, spec: DatasetSpec) -> float:
        """Estimates the cost of one training step, which decides on threads.

        The default is infinite, so that all cores are used.

        Args:
            config: run configuration.
            spec: shapes and classes of the data set.

        Returns:
            Floating-point operations per step of one worker.
        """
        return math.inf

    def mean_over_ranks(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the mean of a tensor over all ranks; it has a gradient.

        For what depends on more than one example, such as the moments of a batch.

        Args:
            value: tensor of the same shape on all ranks.
        """
        return self._cluster.allreduce_mean(value)

    # What follows is called by the framework, and not to be overridden.

    def build(self, config: Config, cluster: Cluster) -> None:
        """Creates the variables of Keras layers, and makes the layers rank-invariant.

        Args:
            config: run configuration.
            cluster: the ranks whose global batch batch normalization refers to.

        Raises:
            InputError: a layer cannot be made rank-invariant.
        """
        own_methods.check(self)
        layers = self._keras_layers()
        if layers:
            self._keras = KerasLayers(layers)
            self._keras.check_features(self.spec)
            dtype = "int32" if self.spec.feature_dtype == "int32" else "float32"
            self(tf.zeros([2, *self.spec.feature_shape], dtype))
            self._keras.make_rank_invariant(config, cluster)
        self._cluster = cluster
        self._label_smoothing = config.label_smoothing
        own_loss = type(self).loss is not Network.loss
        if self._label_smoothing and (own_loss or self.spec.num_classes is None):
            raise InputError(
                f"flag --label_smoothing: network {self.label} has "
                f"{'a loss of its own' if own_loss else 'no classes'}; leave it out"
            )
        for name, variable in self.trainable.items():
            if variable.dtype != tf.float32:
                raise InputError(
                    f"network {self.label}: variable {name} is of type "
                    f"{variable.dtype.name}; what is trained must be float32: create "
                    "it so, or with trainable=False"
                )
        if not self.trainable:
            raise InputError(
                f"network {self.label}: has no trainable variables; create them in "
                "__init__, as attributes"
            )

    def outputs(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Calls the network, and checks what it returns and does.

        Args:
            features: of `__call__`, in the spec's shape.
            position: of `__call__`.

        Raises:
            InputError: the outputs do not match the data set, or something would
                depend on the rank.
        """
        if self._takes_flat_features:
            features = tf.reshape(features, [-1, self.spec.num_features])
        if self._keras:
            self._keras.enter(features, position)
        outputs = autograph.converted(self)(features, position)
        own_methods.check_is_tensor(self.label, outputs)
        outputs = tf.cast(outputs, tf.float32)
        if self._has_one_number and outputs.shape[1:].as_list() == [1]:
            # Minus targets of shape [batch], it would become [batch, batch].
            outputs = tf.squeeze(outputs, axis=1)
        if type(self).loss is Network.loss:
            own_methods.check_shape(self.label, outputs, self.spec)
        return outputs

    @property
    def _has_one_number(self) -> bool:
        """Whether the target of an example is one number."""
        return self.spec.num_classes is None and self.spec.target_shape == ()

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Checks what is added to a graph inside, of training: see `graph_checks`.

        Raises:
            InputError: something would depend on the rank.
        """
        generators = self._keras.generators if self._keras else {}
        with graph_checks.rank_invariant(self.label, self.named_variables, generators):
            yield

    def training_loss(
        self, features: tf.Tensor, targets: tf.Tensor, position: tf.Tensor
    ) -> tf.Tensor:
        """Returns the loss of a batch of training examples, float32 scalar.

        The regularization losses of Keras layers are added to it.

        Args:
            features: of `outputs`.
            targets: as in the data set.
            position: of `__call__`.
        """
        outputs = self.outputs(features, position)
        if self._label_smoothing:
            loss = losses.smoothed_loss(outputs, targets, self._label_smoothing)
        else:
            loss = self.mean_loss(outputs, targets)
        return tf.add_n([loss, *self._keras.losses()]) if self._keras else loss

    def mean_loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch, float32 scalar.

        Args:
            outputs: of `outputs`.
            targets: as in the data set.
        """
        normalized = tensors.normalize_targets(targets, self.spec)
        loss = autograph.converted(self.loss)(outputs, normalized)
        own_methods.check_loss(self.label, loss, self.spec)
        return tf.reduce_mean(loss) if loss.shape.rank else loss

    @property
    def label(self) -> str:
        """Name of the network, for messages."""
        return type(self).__name__

    @property
    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by name, in a fixed order.

        Raises:
            InputError: two have the same name.
        """
        named: dict[str, tf.Variable] = {}
        for variable in self.variables:
            name = variable.name.partition(":")[0]
            if name in named:
                raise InputError(
                    f"network {self.label}: two variables are named {name}; "
                    "give each a unique name, as in tf.Variable(…, name=…)"
                )
            named[name] = variable
        return {**named, **(self._keras.variables if self._keras else {})}

    @property
    def trainable(self) -> dict[str, tf.Variable]:
        """The variables that are trained, by name."""
        frozen = self._keras.frozen if self._keras else ()
        return {
            name: variable
            for name, variable in self.named_variables.items()
            if variable.trainable and name not in frozen
        }

    @property
    def statistics(self) -> list[tf.Variable]:
        """Moving averages that each rank computes of its own examples."""
        return self._keras.statistics if self._keras else []

    @property
    def averaged(self) -> dict[str, tf.Variable]:
        """What a moving average of the parameters includes, by name."""
        statistics = {id(variable) for variable in self.statistics}
        return {
            name: variable
            for name, variable in self.named_variables.items()
            if name in self.trainable or id(variable) in statistics
        }

    def _keras_layers(self) -> Mapping[str, Any]:
        """Returns the outermost Keras layers by the path of their attribute."""
        found = self._flatten(predicate=is_layer, with_path=True)
        return {"/".join(map(str, path)): layer for path, layer in found}
