"""Which network --model names."""

from __future__ import annotations

import importlib

from distmnist.core.errors import InputError
from distmnist.models.cnn import Cnn
from distmnist.models.model import Mlp, Network

_OWN = {"mlp": Mlp, "cnn": Cnn}


def find(name: str) -> type[Network]:
    """Returns the class of a network.

    Args:
        name: 'mlp', 'cnn', or 'package.module:Class', a subclass of `Network` in a
            module that Python can import.

    Raises:
        InputError: there is no such class.
    """
    if name in _OWN:
        return _OWN[name]
    module_name, colon, class_name = name.partition(":")
    if not (module_name and colon and class_name):
        raise InputError(
            f"flag --model={name}: must be {', '.join(_OWN)}, or package.module:Class"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"flag --model={name}: {module_name} can't be imported ({error}); start "
            "where Python finds it, or set PYTHONPATH to its directory"
        ) from None
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Network)):
        what = "has no" if found is None else "has something else as"
        raise InputError(
            f"flag --model={name}: {module_name} {what} {class_name}, which must be a "
            "subclass of distmnist.models.model.Network"
        )
    return found
