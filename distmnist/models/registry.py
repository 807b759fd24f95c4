"""Finds and creates the network that --model names."""

from __future__ import annotations

import inspect

from distmnist.core import registry
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.dataset import DatasetSpec
from distmnist.models.network import Network


def find(name: str) -> type[Network]:
    """Returns the class of a network.

    Args:
        name: a name in `core.registry.MODELS`, or `package.module:Class`, a subclass of
            `Network` in a module that Python can import.

    Raises:
        InputError: there is no such class.
    """
    found = registry.load("model", name, registry.MODELS)
    if not (isinstance(found, type) and issubclass(found, Network)):
        raise InputError(
            f"flag --model={name}: is not a network; derive it from distmnist.Network, "
            "as in class MyNetwork(distmnist.Network)"
        )
    return found


def create(name: str, config: Config, spec: DatasetSpec) -> Network:
    """Creates a network, with its initial values.

    Args:
        name: name of the network; see `find`.
        config: run configuration.
        spec: shapes and classes of the data set; passed on unless the class takes the
            configuration alone.

    Raises:
        InputError: there is no such network, or it does not support these shapes.
    """
    network = find(name)
    parameters = inspect.signature(network.__init__).parameters.values()
    takes_spec = any(
        parameter.name == "spec" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )
    return network(config, spec=spec) if takes_spec else network(config)
