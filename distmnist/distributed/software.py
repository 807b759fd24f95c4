"""The software of a rank: versions and sources, which must be the same on all ranks.

Ranks whose arithmetic differs would train a mixture without an error.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib import metadata

REMEDY = "install the same software, and the same code of your own, on all hosts"

_PACKAGES = ("distmnist", "tensorflow", "keras", "numpy", "horovod")
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DIGITS = 12  # of a hash, shown to users
_SITE = f"-packages{os.sep}"  # site-packages, dist-packages
_INSTALLED = tuple(
    sysconfig.get_paths()[name] + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@functools.cache
def versions() -> Mapping[str, str]:
    """Returns the versions of what computes, and a hash of distmnist's source."""
    found = {"the version of Python": platform.python_version()}
    for package in _PACKAGES:
        found[f"the version of {package}"] = _version(package)
    files = (
        os.path.join(directory, name)
        for directory, _, names in os.walk(_OWN)
        for name in names
        if name.endswith(".py")
    )
    found["the source of distmnist"] = _hash(sorted(files))
    return found


def user_modules(*names: str) -> Mapping[str, str]:
    """Returns a hash of the source of each module of the user's that is loaded.

    Those are modules that are not installed, and those of named packages.

    Args:
        names: `package.module:attribute` of flags; others are ignored.
    """
    packages = {name.partition(":")[0].partition(".")[0] for name in names}
    found = {}
    for name, module in list(sys.modules.items()):
        # Not by getattr, at which some modules are loaded.
        file = getattr(module, "__dict__", {}).get("__file__")
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        installed = file.startswith(_INSTALLED) or _SITE in file
        if installed and name.partition(".")[0] not in packages:
            continue
        if not os.path.abspath(file).startswith(_OWN + os.sep):
            found[f"the source of module {name}"] = _hash([file])
    return found


def _version(package: str) -> str:
    """Returns the version of a package, which need not be loaded."""
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded:
        return str(loaded)
    try:
        return metadata.version(package)  # takes longer
    except metadata.PackageNotFoundError:
        return "none"


def _hash(files: Iterable[str]) -> str:
    """Returns a hash of files, in their order; of none that can be read, "none"."""
    sha256 = hashlib.sha256()
    for file in files:
        try:
            with open(file, "rb") as stream:
                sha256.update(stream.read())
        except OSError:  # an archive of modules, say
            return "none"
    return sha256.hexdigest()[:_DIGITS]
