"""The training that a job runs: its flags, and the progress in its log."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from distmnist import cli
from distmnist.core import flags
from distmnist.core.config import Config
from distmnist.core.errors import InputError

_STEP = re.compile(r"Step (\d+): loss = (\S+)")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line at `--`.

    Args:
        argv: the program's name and its arguments.

    Returns:
        The name with the flags before `--`, and the flags of distmnist.train after it.
    """
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def check(training: Sequence[str]) -> Config:
    """Checks flags of distmnist.train before they are submitted.

    Args:
        training: the flags; environment variables in them are those of the cluster.

    Returns:
        The run configuration.

    Raises:
        InputError: a flag is unknown, or its value wrong.
    """
    words = [word.replace("$", "") for word in training]
    config = flags.parse(Config, ["distmnist.train", *words], "Flags of the training.")
    cli.check_names(config)
    return config


def last_step(training: Sequence[str]) -> int | None:
    """Returns the step that a training ends with, if its flags determine it."""
    try:
        config = flags.parse(Config, ["distmnist.train", *training], usage=None)
    except InputError:  # submitted by another version of distmnist
        return None
    return None if config.num_epochs else config.max_steps


def newest_step(lines: Iterable[str], last: int | None) -> dict[str, Any]:
    """Returns the progress that log lines report, as JSON.

    Args:
        lines: of the training log.
        last: the last step; None if it is unknown.

    Returns:
        `step`, of which there are `last_step`, and its `loss`; None if not reported, or
        not finite.
    """
    found = [match for line in lines if (match := _STEP.search(line))]
    step, loss = found[-1].groups() if found else (None, None)
    return {
        "step": None if step is None else int(step),
        "last_step": last,
        "loss": _finite(loss),
    }


def _finite(text: str | None) -> float | None:
    """Returns a number that JSON has; None for any other text."""
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(number := float(text)):  # type: ignore[arg-type]
            return number
    return None


def progress(line: str, last: int | None) -> str | None:
    """Returns the progress that a log line reports.

    Args:
        line: a line of the training log.
        last: the last step; None if it is unknown.

    Returns:
        The step and its loss; None if the line does not report them.
    """
    match = _STEP.search(line)
    if match is None:
        return None
    of = f" of {last}" if last else ""
    return f"step {match[1]}{of}, loss {match[2]}"
