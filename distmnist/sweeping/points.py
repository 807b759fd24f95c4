"""The points of a sweep: combinations of the values of flags."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Sequence
from urllib.parse import quote

from distmnist.core.errors import InputError

Point = dict[str, str]
"""Value of each flag that is varied, as text."""

Varied = dict[str, "list[str] | tuple[float, float, int]"]
"""By flag: values, or a range and its number of points."""

_RANGE = re.compile(r"(?P<low>[^/]+?)\.\.(?P<high>[^/]+?)(?:/(?P<count>\d+))?")
_POINTS = 5  # of a range in a grid


def parse(texts: Sequence[str]) -> Varied:
    """Returns what is varied, by flag: values, or a range and its number of points.

    Args:
        texts: NAME=VALUE,VALUE,... or NAME=LOW..HIGH or NAME=LOW..HIGH/POINTS.

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
        found[name] = _range(text, match) if match else values.split(",")
    return found


def _range(text: str, match: re.Match[str]) -> tuple[float, float, int]:
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
    return low, high, count


def grid(varied: Varied) -> list[Point]:
    """Returns all combinations; the points of a range are in equal ratios.

    Args:
        varied: of `parse`.
    """
    values = [
        each if isinstance(each, list) else _spaced(*each) for each in varied.values()
    ]
    return [dict(zip(varied, point)) for point in itertools.product(*values)]


def _spaced(low: float, high: float, count: int) -> list[str]:
    ratio = high / low
    return [f"{low * ratio ** (i / (count - 1)):.4g}" for i in range(count)]


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
            else f"{each[0] * (each[1] / each[0]) ** generator.random():.4g}"
            for name, each in varied.items()
        }
        if point not in points:
            points.append(point)
    return points


def name(point: Point) -> str:
    """Returns the name of a point's directory."""
    text = "+".join(
        f"{flag}={quote(value, safe='.-_')}" for flag, value in point.items()
    )
    return text
