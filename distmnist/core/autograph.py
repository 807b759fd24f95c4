"""AutoGraph, which converts Python's `if` and `for` to those of graphs.

* It converts the user's functions, and skips distmnist's own, which need no conversion:
  it reads and compiles each function that is called, and that took a second of a start.
* It writes the code that it generates to the temporary directory and imports it from
  there: a file for each function, which a killed process leaves behind, and which fails
  where no temporary directory can be written to. Here the code stays in memory.

TensorFlow has no setting for either.
"""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]
_numbers = itertools.count()


def set_up() -> None:
    """Has AutoGraph skip distmnist and write no files; TensorFlow must be imported.

    In a release of TensorFlow that has other modules, it does neither.
    """
    try:
        from tensorflow.python.autograph.core import config
        from tensorflow.python.autograph.pyct import loader
    except ImportError:
        return
    if hasattr(loader, "load_source"):
        loader.load_source = _load_source
    rules = getattr(config, "CONVERSION_RULES", None)
    if rules and not any(str(rule._prefix) == _PACKAGE for rule in rules):
        config.CONVERSION_RULES = (config.DoNotConvert(_PACKAGE), *rules)


def converted(function: Function) -> Function:
    """Returns a user's function for a call in a graph: converted, if that is.

    What distmnist calls would be skipped together with distmnist.

    Args:
        function: may also be a method, or an object that can be called.
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return function
    internal = tf.__internal__.autograph
    context = internal.control_status_ctx()
    return internal.tf_convert(function, context)  # type: ignore[no-any-return]


def _load_source(source: str, delete_on_exit: bool) -> tuple[ModuleType, str]:
    """Loads source code as a module, as TensorFlow's function of this name does.

    Args:
        source: the code.
        delete_on_exit: unused: there is no file.

    Returns:
        The module, and the name of its file, which tracebacks and `inspect` look up.
    """
    name = f"__autograph_generated_file{next(_numbers)}"
    # No name in angle brackets: linecache and `inspect` would not look for its lines.
    path = f"{name}.py"
    # Without a time, linecache does not look for a file.
    lines = source.splitlines(keepends=True)
    linecache.cache[path] = (len(source), None, lines, path)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # where `inspect` looks for it
    exec(compile(source, path, "exec"), module.__dict__)
    return module, path
