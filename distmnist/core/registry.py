"""Names that --dataset, --model and --optimizer accept, and the code behind each.

Entries name their code as `package.module:attribute`, which is imported only when it is
requested: the tables are needed for flags and help, before TensorFlow is imported.
Users name their own code in the same form.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from distmnist.core import user_code
from distmnist.core.errors import InputError
from distmnist.core.urls import is_url


class Entry(NamedTuple):
    """A registered name.

    Attributes:
        target: the code behind it, `package.module:attribute`.
        help: what it is, for --help.
    """

    target: str
    help: str


DATASETS: Mapping[str, Entry] = {
    "auto": Entry(
        "distmnist.data.sources.auto:Auto", "mnist if available, else digits"
    ),
    "mnist": Entry(
        "distmnist.data.sources.mnist:Mnist",
        "MNIST, or a data set in the same file format; downloaded if missing",
    ),
    "digits": Entry(
        "distmnist.data.sources.digits:Digits",
        "scikit-learn's 1,797 small digits, no download",
    ),
    "fake": Entry("distmnist.data.sources.synthetic:Synthetic", "random examples"),
}

MODELS: Mapping[str, Entry] = {
    "mlp": Entry("distmnist.models.mlp:Mlp", "the tutorial's multilayer perceptron"),
    "cnn": Entry("distmnist.models.cnn:Cnn", "convolutional"),
}

OPTIMIZERS: Mapping[str, Entry] = {
    "sgd": Entry("distmnist.optim.sgd:Sgd", "SGD, with --momentum"),
    "lars": Entry("distmnist.optim.lars:lars", "SGD with a rate for each layer"),
    "adam": Entry("distmnist.optim.keras_rule:adam", "Adam"),
    "adamw": Entry("distmnist.optim.keras_rule:adamw", "with decoupled weight decay"),
    "lamb": Entry("distmnist.optim.keras_rule:lamb", "Adam with a rate for each layer"),
    "adagrad": Entry("distmnist.optim.keras_rule:adagrad", "Adagrad"),
    "lion": Entry("distmnist.optim.keras_rule:lion", "Lion"),
    "rmsprop": Entry("distmnist.optim.keras_rule:rmsprop", "RMSprop"),
}


def describe(table: Mapping[str, Entry]) -> str:
    """Returns the names of a table with their help, as one phrase."""
    return "; ".join(f"{name}: {entry.help}" for name, entry in table.items())


def is_code(name: str, table: Mapping[str, Entry]) -> bool:
    """Returns whether a name means code of the user's, `package.module:attribute`.

    Args:
        name: the name.
        table: registered names.
    """
    if name in table or is_url(name):
        return False
    return ":" in name and not os.path.exists(name)


def is_path(name: str, table: Mapping[str, Entry]) -> bool:
    """Returns whether a name means a file or a directory.

    Args:
        name: the name.
        table: registered names.
    """
    return not (name in table or is_url(name) or is_code(name, table))


def check(flag: str, name: str, table: Mapping[str, Entry]) -> tuple[str, str]:
    """Checks the form of a name, and imports nothing.

    Args:
        flag: flag that the name comes from, for messages.
        name: a name of the table, or `package.module:attribute`.
        table: registered names.

    Returns:
        Names of the module and of the attribute.

    Raises:
        InputError: the name is of neither form.
    """
    target = table[name].target if name in table else name
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute) or name.startswith("."):
        raise InputError(
            f"flag --{flag}={name}: must be {', '.join(table)} or "
            "package.module:attribute"
        )
    return module_name, attribute


def load(flag: str, name: str, table: Mapping[str, Entry]) -> Any:
    """Imports the code that a name stands for.

    Args:
        flag: flag that the name comes from, for messages.
        name: a name of the table, or `package.module:attribute`.
        table: registered names.

    Raises:
        InputError: the name is unknown, or there is nothing to import under it.
    """
    module_name, attribute = check(flag, name, table)
    if name not in table and "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does, and installed commands do not
    try:
        with user_code.reported():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"flag --{flag}={name}: cannot import {module_name} ({error}); start where "
            "Python finds it, or add its directory to PYTHONPATH"
        ) from None
    if not hasattr(module, attribute):
        raise InputError(f"flag --{flag}={name}: {module_name} has no {attribute}")
    return getattr(module, attribute)
