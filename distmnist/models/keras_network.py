"""A Keras layer or model as a network."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging

from distmnist.core import user_code
from distmnist.core.config import Config
from distmnist.core.errors import InputError, UserError
from distmnist.data.spec import DatasetSpec
from distmnist.models.network import Network

# What the loss applies itself.
_PROBABILITIES = ("softmax", "sigmoid")


class KerasNetwork(Network):
    """Calls a Keras layer, in training and in evaluation."""

    def __init__(self, config: Config, spec: DatasetSpec, layer: Any):
        """Wraps a layer.

        Args:
            config: run configuration.
            spec: shapes and classes of the data set.
            layer: Keras layer or model.

        Raises:
            InputError: the layer returns probabilities.
        """
        super().__init__(config, spec)
        self._layer = layer
        self._takes_training = layer._call_has_training_arg
        if getattr(layer, "compiled", False):
            logging.warning(
                "Keras model %s: the optimizer, loss and metrics that it was compiled "
                "with are not used",
                layer.name,
            )
        last = layer
        while getattr(last, "layers", None):
            last = last.layers[-1]
        activation = getattr(getattr(last, "activation", None), "__name__", "")
        if type(last).__name__ == "Softmax":
            activation = "softmax"
        if spec.num_classes is not None and activation in _PROBABILITIES:
            raise InputError(
                f"Keras layer {last.name}: returns probabilities (activation "
                f"{activation}), but the loss takes logits: leave the activation out"
            )

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Calls the layer; see `Network`."""
        training = {"training": position is not None} if self._takes_training else {}
        try:
            return self._layer(features, **training)
        except UserError:
            raise
        except Exception as error:
            if user_code.explain(error):  # it names the user's line
                raise
            reason = user_code.reason(str(error))
            raise InputError(f"Keras model {self.label}: {reason}") from error

    def _keras_layers(self) -> dict[str, Any]:
        return {"": self._layer}

    @property
    def label(self) -> str:
        """Name of the Keras model, for messages."""
        return str(self._layer.name)
