"""Short names of runs: what tells their directories apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

# A part of a name, with the separators behind it; "learning_rate=0.1" is one part.
_PART = re.compile(r"[^/,\- ]*[/,\- ]+|[^/,\- ]+")


def shorten(names: Sequence[str]) -> list[str]:
    """Cuts what all names have in common.

    Parts at the start are cut; if all names have as many parts, common parts further
    on become "…".

    Args:
        names: run directories.

    Returns:
        A short name for each; numbered where they are equal.
    """
    if len(names) == 1:
        return [PurePath(names[0]).name or names[0]]
    parts = [_PART.findall(name) for name in names]
    shortest = min(map(len, parts))
    equal = [len({name[index] for name in parts}) == 1 for index in range(shortest)]
    first = min((*equal, False).index(False), max(shortest - 1, 0))
    if len(set(map(len, parts))) == 1:
        equal[first:] = (False, *equal[first + 1 :])  # something must remain
        parts = [
            ["…" if same else part for part, same in zip(name, equal)] for name in parts
        ]
    short = ["".join(name[first:]).rstrip("/,- ") for name in parts]
    short = [re.sub("…+", "…", name) for name in short]
    return [
        f"{name} ({short[: index + 1].count(name)})" if short.count(name) > 1 else name
        for index, name in enumerate(short)
    ]
