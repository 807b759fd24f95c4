"""The interface of networks."""

from __future__ import annotations

import math

import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.dataset import DatasetSpec


class Network(tf.Module):  # type: ignore[misc]
    """Maps features to logits. Subclass it for a network of your own.

    docs/data-and-networks.md has an example.

    Its variables are attributes, also in lists and dictionaries, and have unique names.
    Their initial values depend on the configuration and the spec alone.
    """

    def __init__(self, config: Config, spec: DatasetSpec | None = None):
        """Creates the variables.

        A subclass takes `spec` too, by that name, unless its shapes are fixed.

        Args:
            config: run configuration: seed, layer sizes, compute type.
            spec: shapes and classes of the data set.

        Raises:
            InputError: the network does not support these shapes.
        """
        super().__init__()

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes logits.

        Args:
            features: float32 [batch, num_features], in [0, 1].
            position: in training, the position of the batch's first example in the
                stream of training examples, int64 scalar, at least 0; the others
                follow it. Randomness must depend on it and the seed alone, as in
                `dropout.dropout`, so that N ranks compute what one rank computes. None
                in evaluation and inference.

        Returns:
            Logits, float32 [batch, num_classes].
        """
        raise NotImplementedError

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
                    f"network {type(self).__name__}: two variables are named {name}; "
                    "give each a unique name, as in tf.Variable(…, name=…)"
                )
            named[name] = variable
        return named
