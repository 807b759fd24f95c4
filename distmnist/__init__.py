"""distmnist: synchronous data-parallel training with TensorFlow and Horovod."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distmnist.api import Fitted, fit
    from distmnist.core.config import Config
    from distmnist.data.arrays import Columns, Items, create_dataset
    from distmnist.data.dataset import Dataset, Split
    from distmnist.data.sources.prepared import open_prepared
    from distmnist.data.spec import DatasetSpec
    from distmnist.models.network import Network

__version__ = "0.2.0.dev0"
__all__ = [
    "Columns",
    "Config",
    "Dataset",
    "DatasetSpec",
    "Fitted",
    "Items",
    "Network",
    "Split",
    "create_dataset",
    "fit",
    "open_prepared",
]

# Imported on first use (PEP 562): TensorFlow, which `Network` needs, takes seconds, and
# programs choose settings of the process before they import it.
_MODULES = {
    "Columns": "distmnist.data.arrays",
    "Config": "distmnist.core.config",
    "Dataset": "distmnist.data.dataset",
    "DatasetSpec": "distmnist.data.spec",
    "Fitted": "distmnist.api",
    "Items": "distmnist.data.arrays",
    "Network": "distmnist.models.network",
    "Split": "distmnist.data.dataset",
    "create_dataset": "distmnist.data.arrays",
    "fit": "distmnist.api",
    "open_prepared": "distmnist.data.sources.prepared",
}


def __getattr__(name: str) -> Any:
    """Imports a public name.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Returns all names, including those not yet imported."""
    return sorted({*globals(), *__all__})
