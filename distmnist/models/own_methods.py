"""Checks of what a user's network is, and of what its own methods return."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec

# Methods of `Network` that the framework calls, and that are not to be replaced.
_RESERVED = ("build", "outputs", "checked", "training_loss", "mean_loss")


def check(network: Any) -> None:
    """Checks the attributes of a network, and how it can be called.

    Args:
        network: a `Network`.

    Raises:
        InputError: an attribute replaces a method of `Network`, or it cannot be called
            as it will be.
    """
    for name in _RESERVED:
        if name in vars(network):
            raise InputError(
                f"network {network.label}: its attribute {name} replaces a method of "
                "Network; give it another name"
            )
    signature = inspect.signature(network.__call__)
    try:
        signature.bind(None, None)
    except TypeError:
        raise InputError(
            f"network {network.label}: __call__ takes {signature}; it is called with "
            "(features, position)"
        ) from None


def check_is_tensor(label: str, outputs: Any) -> None:
    """Checks what `Network.__call__` has returned.

    Args:
        label: name of the network.
        outputs: what it has returned.

    Raises:
        InputError: it is not a tensor.
    """
    if not tf.is_tensor(outputs):
        raise InputError(
            f"network {label}: returned a {type(outputs).__name__}; return one tensor "
            "(for several outputs, concatenated along the last axis; loss and metrics "
            "can split them)"
        )


def check_shape(label: str, outputs: tf.Tensor, spec: DatasetSpec) -> None:
    """Checks that outputs match the targets, as `Network.loss` requires.

    Args:
        label: name of the network.
        outputs: of `Network.__call__`.
        spec: shapes and classes of the data set.

    Raises:
        InputError: they are of another shape.
    """
    wanted = list(spec.target_shape)
    if spec.num_classes is not None:
        wanted.append(spec.num_classes)
    shape = outputs.shape[1:].as_list() if outputs.shape.rank else None
    if (
        shape is not None
        and len(shape) == len(wanted)
        and all(size in (None, expected) for size, expected in zip(shape, wanted))
    ):
        return
    what = (
        f"{spec.num_classes} classes"
        if spec.num_classes is not None
        else f"targets of shape {wanted or 'a number'}"
    )
    raise InputError(
        f"network {label}: its outputs have the shape {['batch', *(shape or ())]}, but "
        f"the data set has {what}; return {['batch', *wanted]}, or override loss"
    )


def check_loss(label: str, loss: Any, spec: DatasetSpec) -> None:
    """Checks what `Network.loss` has returned.

    Args:
        label: name of the network.
        loss: what it has returned.
        spec: shapes of the data set.

    Raises:
        InputError: it is not a loss.
    """
    rank = loss.shape.rank if tf.is_tensor(loss) else -1
    if rank not in (None, 0, 1, 1 + len(spec.target_shape)):
        what = f"a tensor of shape {loss.shape}" if rank > 0 else f"{loss!r}"
        raise InputError(
            f"network {label}: loss returned {what}; return a scalar, or the loss of "
            "each example, [batch]"
        )


def check_metrics(label: str, metrics: Any, built_in: Collection[str]) -> None:
    """Checks what `Network.metrics` has returned.

    Args:
        label: name of the network.
        metrics: what it has returned.
        built_in: names of the metrics that are recorded anyway.

    Raises:
        InputError: it is not a sum and a weight for each name, or a name is taken.
    """
    expected = "return a dict of name: (sum, weight), a pair of scalars"
    if not isinstance(metrics, Mapping):
        raise InputError(
            f"network {label}: metrics returned a {type(metrics).__name__}; {expected}"
        )
    for name, pair in metrics.items():
        if name in built_in:
            raise InputError(
                f"network {label}: its metric {name} has the name of one that is "
                "recorded anyway; give it another"
            )
        scalars = isinstance(pair, (tuple, list)) and [
            value is not None and tf.convert_to_tensor(value).shape.rank in (None, 0)
            for value in pair
        ]
        if scalars != [True, True]:
            raise InputError(
                f"network {label}: its metric {name} is not a pair of scalars; "
                f"{expected}"
            )
