"""Errors that the user's code or sizes cause, in one line."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from distmnist.core import errors
from distmnist.core.errors import RunError, UserError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FOREIGN = (
    _PACKAGE,
    *{
        os.path.realpath(sysconfig.get_paths()[name]) + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    },
)
# A frame in the message of an error in a graph, from TensorFlow or AutoGraph.
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
# What TensorFlow wanted to allocate.
_ALLOCATION = re.compile(
    r"OOM when allocating tensor with shape\[([\d,]*)\] and type (\w+)"
)
# What XLA cannot compile.
_UNCOMPILED = re.compile(
    r"Detected unsupported operations when trying to compile graph .*: (\w+) \("
)
_BOLD = re.compile(r"\x1b\[\d+m")  # as Keras' messages are
_MESSAGE_SIZE = 300


def location(frames: Iterable[Any]) -> str | None:
    """Returns the place of the user's innermost frame, as "file:line".

    Args:
        frames: frames with `filename` and `lineno`, outermost first.
    """
    places = [(frame.filename, frame.lineno) for frame in frames]
    return _innermost(places)


def _innermost(places: Iterable[tuple[str, int]]) -> str | None:
    own = [(file, line) for file, line in places if _is_users(file)]
    if not own:
        return None
    file, line = own[-1]
    relative = os.path.relpath(file)
    return f"{file if relative.startswith('..') else relative}:{line}"


def _is_users(file: str) -> bool:
    if not os.path.isfile(file) or "__autograph_generated_file" in file:
        return False
    path = os.path.realpath(file)
    site = f"{os.sep}site-packages{os.sep}"
    return not path.startswith(_FOREIGN) and site not in path


def explain(error: BaseException) -> UserError | None:
    """Returns the one-line form of an error in the user's code, or for missing memory.

    Args:
        error: what was raised.

    Returns:
        The error to report; None for any other.
    """
    if missing := out_of_memory(error):
        return missing
    places = [
        (frame.filename, frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    message = str(error)
    # Of code in a graph, the frames are in the message.
    places += [(file, int(line)) for file, line in _FRAME.findall(message)]
    place = _innermost(places)
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        place = _innermost([(error.filename, error.lineno)])
        message = error.msg
    if uncompiled := _UNCOMPILED.search(message):
        return RunError(
            f"{place or 'flag --xla'}: XLA has no {uncompiled[1]}, which this network "
            "needs: train without --xla"
        )
    if place is None or isinstance(error, ImportError):
        return None
    kind = f"{type(error).__name__}: "  # which AutoGraph puts there, too
    return RunError(f"{place}: {kind}{reason(message).removeprefix(kind)}")


def out_of_memory(error: BaseException) -> UserError | None:
    """Returns the one-line form of an error for missing memory; None for any other.

    Args:
        error: what was raised.
    """
    allocation = _ALLOCATION.search(str(error))
    if not allocation and not isinstance(error, MemoryError):
        return None
    wanted = " ".join(str(error).split())[:_MESSAGE_SIZE]
    if allocation:
        shape, kind = allocation.groups()
        size = math.prod(map(int, filter(None, shape.split(",")))) * _bytes(kind)
        wanted = f"for a tensor of shape [{shape}], {size / 2**30:,.1f} GiB"
    return RunError(
        f"out of memory {wanted}: choose a smaller network, --batch_size or data set"
    )


def _bytes(kind: str) -> int:
    """Returns the size of TensorFlow's types: "float" is of 32 bits."""
    named = {"float": 4, "double": 8, "half": 2, "bfloat16": 2, "bool": 1}
    digits = re.sub(r"\D", "", kind)
    return named.get(kind) or int(digits or 32) // 8


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Raises errors of the user's code inside in their one-line form.

    Raises:
        RunError: an error was in the user's code.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # other ranks wait for this one
        explained = explain(error)
        if explained is None:
            raise
        if errors.debug:
            traceback.print_exc(file=sys.stderr)
        raise explained from None


def reason(message: str) -> str:
    """Returns the line of an error's message that says what is wrong."""
    message = _BOLD.sub("", message)
    lines = [line.strip() for line in message.splitlines()]
    if lines[:1] == ["Graph execution error:"]:
        # TensorFlow puts frames before the reason, and the node after it.
        node = next(
            (i for i, line in enumerate(lines) if line.startswith("[[{{node")), None
        )
        lines = [line for line in lines[:node] if line][-1:]
    skipped = ("in user code:", "File ", "Detected at node", "Exception encountered")
    told = [
        line
        for previous, line in zip(["", *lines], lines)
        if line
        and not line.startswith(skipped)
        # AutoGraph shows the line of code after each frame.
        and not previous.startswith("File ")
    ]
    words = " ".join((told or lines or [""])[0].split())
    return words[:_MESSAGE_SIZE]
