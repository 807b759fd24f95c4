"""Finds and creates the network that --model names, or that `fit` is given."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from distmnist.core import registry, user_code
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.models.keras_layers import is_layer, reseed
from distmnist.models.network import Network


def find(name: str) -> Any:
    """Returns what creates a network, or a network.

    Args:
        name: a name in `core.registry.MODELS`, or `package.module:attribute`.

    Raises:
        UserError: there is no such name.
    """
    return registry.load("model", name, registry.MODELS)


def step_flops(config: Config, spec: DatasetSpec, network: Any = None) -> float:
    """Estimates the cost of a training step; see `Network.step_flops` and `create`."""
    found = find(config.model) if network is None else network
    kind = found if isinstance(found, type) else type(found)
    return kind.step_flops(config, spec) if issubclass(kind, Network) else math.inf


def create(
    config: Config,
    spec: DatasetSpec,
    cluster: Cluster | None = None,
    network: Any = None,
) -> Network:
    """Creates the network of a run, with its initial values.

    They depend on the configuration and the spec alone: unseeded generators of Python,
    NumPy and TensorFlow, and so those of Keras, start from --seed.

    Args:
        config: run configuration.
        spec: shapes and classes of the data set.
        cluster: the ranks that train it; None: inference.
        network: replaces the one that --model names: a `Network`, a Keras layer or
            model; or a class or function of (config, spec) that returns one.

    Raises:
        UserError: there is no such network, or it does not support these shapes.
    """
    label = f"flag --model={config.model}" if network is None else "argument network"
    own = network is not None or config.model not in registry.MODELS
    if own:
        # Keras, or what it imports, draws from Python's generator when it is imported:
        # not by a network that has its seed already.
        importlib.import_module("keras")
    with user_code.reported(), _seeded(config.seed):
        found = find(config.model) if network is None else network
        if is_layer(found):
            reseed(found)
        created = _call(found, config, spec)
        if not isinstance(created, Network):
            created = _wrap(created, config, spec, label)
        # A network that takes the configuration alone was not given the spec.
        created._takes_flat_features = _takes_only_config(created)
        created.spec = spec
        created.build(config, cluster or Cluster())
    return created


def assert_same_variables(network: Network, cluster: Cluster) -> None:
    """Checks that all ranks have the same variables, in the same order.

    Gradients are concatenated in this order, and a rank with fewer variables would
    leave the others waiting. All ranks must call it.

    Args:
        network: of `create`.
        cluster: the ranks.

    Raises:
        InputError: on all ranks, if they have not.
    """
    described = [
        f"{name}, {variable.dtype.name} {variable.shape}"
        for name, variable in network.named_variables.items()
    ]
    named = {f"variable {i} of the network": d for i, d in enumerate(described, 1)}
    cluster.assert_consistent(
        {"the number of the network's variables": len(named), **named},
        "create the same variables on all ranks, in the same order",
    )


def _call(found: Any, config: Config, spec: DatasetSpec) -> Any:
    """Calls a class or a function with what it takes; returns anything else."""
    if not callable(found) or isinstance(found, tf.Module) or is_layer(found):
        return found
    if isinstance(found, type) and issubclass(found, Network):
        if _takes_only_config(found):
            return found(config)
        taken = inspect.signature(found).parameters.values()
        named = any(p.name == "spec" or p.kind is p.VAR_KEYWORD for p in taken)
        return found(config, spec=spec) if named else found(config, spec)
    arguments = {"config": config, "spec": spec}
    parameters = [
        parameter
        for parameter in inspect.signature(found).parameters.values()
        if parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and (parameter.default is parameter.empty or parameter.name in arguments)
    ]
    if all(parameter.name in arguments for parameter in parameters):
        return found(**{p.name: arguments[p.name] for p in parameters})
    return found(*list(arguments.values())[: len(parameters)])


def _takes_only_config(network: Any) -> bool:
    """Returns whether the constructor of a network, or of its class, takes no spec."""
    kind = network if isinstance(network, type) else type(network)
    parameters = list(inspect.signature(kind).parameters.values())
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return len(required) < 2 and not any(
        parameter.name == "spec"
        or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        for parameter in parameters
    )


def _wrap(created: Any, config: Config, spec: DatasetSpec, label: str) -> Network:
    if not is_layer(created):
        raise InputError(
            f"{label}: is, or returned, a {type(created).__name__}, which is not a "
            "network; give a distmnist.Network, or a Keras layer or model"
        )
    from distmnist.models.keras_network import KerasNetwork

    return KerasNetwork(config, spec, created)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Has unseeded generators start from a seed inside."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
