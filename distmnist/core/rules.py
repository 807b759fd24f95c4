"""Ranges of options: what is checked, and how it is said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """Range of an option.

    Attributes:
        text: completes "must be"; also shown in the help.
        accepts: whether a value, of the option's type, is in the range.
    """

    text: str
    accepts: Callable[[Any], object]


POSITIVE = Rule("a positive number", lambda value: 0 < value < math.inf)


def at_least(minimum: int) -> Rule:
    """Returns the range [minimum, infinity)."""
    return Rule(f"at least {minimum}", lambda value: value >= minimum)


def within(low: float, high: float) -> Rule:
    """Returns the range [low, high)."""
    return Rule(f"in [{low}, {high})", lambda value: low <= value < high)


def one_of(*choices: str) -> Rule:
    """Returns the range of a set of names."""
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def each_of(*choices: str) -> Rule:
    """Returns the range of lists of names, each at most once."""
    return Rule(
        f"a list of {', '.join(choices)}",
        lambda values: len({*values} & {*choices}) == len(values),
    )


def matching(pattern: str, text: str) -> Rule:
    """Returns the range of texts that a regular expression matches as a whole.

    Args:
        pattern: the regular expression.
        text: what they are.
    """
    return Rule(text, re.compile(pattern).fullmatch)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


PATTERN = Rule("auto, all, or a regular expression", _is_pattern)
FACTOR = Rule("in (0, 1]", lambda value: 0 < value <= 1)
FRACTIONS = Rule(
    "rising numbers in (0, 1)",
    lambda values: list(values) == sorted({v for v in values if 0 < v < 1}),
)
NOT_NEGATIVE = Rule("a number of at least 0", lambda value: 0 <= value < math.inf)
URLS = Rule("one or more URLs", bool)
SPLIT_SIZES = Rule(
    "three numbers of at least 1: train,validation,test",
    lambda sizes: len(sizes) == 3 and min(sizes) >= 1,
)
IMAGE_SIZE = Rule(
    "HEIGHT,WIDTH: two numbers of at least 1",
    lambda size: not size or (len(size) == 2 and min(size) >= 1),
)
BEST_METRIC = Rule(
    "auto or NAME:max or NAME:min",
    lambda text: text == "auto" or re.fullmatch(r"[^:]+:(max|min)", text),
)
STEP_RANGE = Rule(
    "FROM,TO: two steps of at least 1, the first before the second",
    lambda steps: not steps or (len(steps) == 2 and 0 < steps[0] < steps[1]),
)
