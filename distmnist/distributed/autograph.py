"""AutoGraph without files: TensorFlow's generated code stays in memory.

AutoGraph writes the code that it generates to the temporary directory and imports it
from there: some 20 files for each process, which a killed one leaves behind, and which
fail where no temporary directory can be written to. TensorFlow has no setting for it.
"""

from __future__ import annotations

import itertools
import linecache
import sys
from types import ModuleType

_numbers = itertools.count()


def keep_in_memory() -> None:
    """Replaces the loader of generated code; TensorFlow must be imported.

    Of a release of TensorFlow without this loader, nothing is replaced.
    """
    try:
        from tensorflow.python.autograph.pyct import loader
    except ImportError:
        return
    if hasattr(loader, "load_source"):
        loader.load_source = _load_source


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
