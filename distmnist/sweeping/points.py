"""The points of a sweep: combinations of the values of flags."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections.abc import Container, Sequence
from typing import NamedTuple
from urllib.parse import quote

from distmnist.core.errors import InputError

Point = dict[str, str]
"""Value of each flag that is varied, as text."""


class Range(NamedTuple):
    """A range of values.

    Attributes:
        low: the least.
        high: the greatest.
        number: points in a grid.
        is_whole: its values are whole numbers.
    """

    low: float
    high: float
    number: int
    is_whole: bool

    def at(self, fraction: float) -> str:
        """Returns the value at a fraction of the range, in equal ratios."""
        value = self.low * (self.high / self.low) ** fraction
        return str(round(value)) if self.is_whole else f"{value:.4g}"


Varied = dict[str, "list[str] | Range"]
"""By flag: values, or a range."""

_RANGE = re.compile(r"(?P<low>[^/]+?)\.\.(?P<high>[^/]+?)(?:/(?P<count>\d+))?")
_POINTS = 5  # of a range in a grid
_MOST_CHARACTERS = 200  # of a name


def parse(texts: Sequence[str], whole: Container[str] = ()) -> Varied:
    """Returns what is varied, by flag: values, or a range.

    Args:
        texts: NAME=VALUE,VALUE,... or NAME=LOW..HIGH or NAME=LOW..HIGH/POINTS.
        whole: names of flags whose values are whole numbers.

    Raises:
        InputError: a text is of none of these forms, or a name comes twice.
    """
    found: Varied = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name.isidentifier() and equals and values) or name in found:
            raise InputError(
                f"argument {text}: must be NAME=VALUE,VALUE,... or NAME=LOW..HIGH, "
                "each name once; flags of all trials come after --"
            )
        match = _RANGE.fullmatch(values)
        found[name] = _range(text, match, name in whole) if match else values.split(",")
    return found


def _range(text: str, match: re.Match[str], is_whole: bool) -> Range:
    try:
        low, high = float(match["low"]), float(match["high"])
    except ValueError:
        low = high = math.nan
    count = int(match["count"] or _POINTS)
    if not (0 < low < high < math.inf and count > 1):
        raise InputError(
            f"argument {text}: a range LOW..HIGH/POINTS is of two positive numbers, "
            "the first less than the second, and of at least 2 points"
        )
    return Range(low, high, count, is_whole)


def grid(varied: Varied) -> list[Point]:
    """Returns all combinations, each once; points of a range are in equal ratios.

    Args:
        varied: of `parse`.
    """
    values = [
        each if isinstance(each, list) else _spaced(each) for each in varied.values()
    ]
    once = [dict.fromkeys(each) for each in values]
    return [dict(zip(varied, point)) for point in itertools.product(*once)]


def _spaced(range_: Range) -> list[str]:
    return [range_.at(i / (range_.number - 1)) for i in range(range_.number)]


def draw(varied: Varied, number: int, seed: int) -> list[Point]:
    """Returns random combinations; of a range, the logarithm is uniform.

    The first of them are the same for any number. Bergstra and Bengio 2012, "Random
    Search for Hyper-Parameter Optimization".

    Args:
        varied: of `parse`.
        number: how many; fewer, if there are fewer different ones.
        seed: of the draws.
    """
    generator = random.Random(seed)
    points: list[Point] = []
    for _ in range(number * 20):
        if len(points) == number:
            break
        point = {
            name: generator.choice(each)
            if isinstance(each, list)
            else each.at(generator.random())
            for name, each in varied.items()
        }
        if point not in points:
            points.append(point)
    return points


def name(point: Point) -> str:
    """Returns the name of a point's directory; file systems allow 255 bytes."""
    text = "+".join(
        f"{flag}={quote(value, safe='.-_')}" for flag, value in point.items()
    )
    if len(text) <= _MOST_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[:_MOST_CHARACTERS]}-{digest[:16]}"
