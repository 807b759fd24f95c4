"""The lines of metrics.jsonl: their schema, and what of them the report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from distmnist.core.errors import InputError
from distmnist.core.regular_file import File

Line = Mapping[str, Any]
"""A line of metrics.jsonl."""

_CORRECT = "correct the line, or restore the file"

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class _Any(msgspec.Struct):
    """What all lines have; kinds that the report does not know are not shown."""

    kind: str
    step: _Count
    size: _Count
    time: _Seconds


class _Train(_Any):
    epoch: float
    loss: float
    gradient_norm: float
    examples_per_sec: float
    goodput: float | None = None  # not in version 0.1


class _Eval(_Any):
    split: str
    num_examples: _Count
    metrics: dict[str, float]


class _Breakdown(_Any):
    step_ms: float
    input_ms: float
    compute_ms: float
    exposed_ms: float
    hidden_ms: float
    waiting_ms: float = 0.0
    utilization: float | None = None


_KINDS = {"train": _Train, "eval": _Eval, "breakdown": _Breakdown}


def read(path: Path) -> list[Line]:
    """Reads a file of JSON lines, the last of which may be incomplete.

    Raises:
        InputError: it cannot be read, or another line is not as a run writes it.
    """
    try:
        file = File(str(path))
        content = file.read(file.size).decode(errors="replace")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the --log_dir of a run"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error}); try again") from None
    # Not splitlines: it splits at characters that JSON strings may hold.
    texts = content.removesuffix("\n").split("\n")
    lines: list[Line] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            if number == len(texts):  # the last is incomplete if the run was killed
                break
            raise InputError(
                f"{path}, line {number}: is not JSON; {_CORRECT}"
            ) from None
        try:
            lines.append(_checked(line))
        except (ValueError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{path}, line {number}: is not as a run writes it "
                f"({str(error)[:200]}); {_CORRECT}"
            ) from None
    return lines


def _checked(line: Any) -> Line:
    """Returns a line whose fields are of their types.

    Raises:
        ValueError: one is not.
    """
    if isinstance(line, dict) and "metrics" not in line and "precision" in line:
        line = {**line, "metrics": {"accuracy": line["precision"]}}  # version 0.1
    found = msgspec.convert(line, _Any)
    if found.kind in _KINDS:
        found = msgspec.convert(line, _KINDS[found.kind])
    if not math.isfinite(found.time):
        raise ValueError("the time is not finite")
    checked: Line = {**line, **msgspec.structs.asdict(found)}
    return checked
