"""Hyperparameters of the user's network: names and typed values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_CONSTANTS = {"true": True, "false": False}


class HParams(dict[str, Any]):
    """Values by name: bool, int, float or str; not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Returns a hash, so that what holds it can be a key."""
        return hash(tuple(sorted(self.items())))

    @classmethod
    def parse(cls, words: Iterable[str]) -> HParams:
        """Returns the values of words such as "rate=0.5".

        Raises:
            ValueError: a word is of another form, or a name comes twice.
        """
        values: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not (equals and name.isidentifier() and name not in values):
                raise ValueError(word)
            values[name] = _typed(text.strip())
        return cls(values)

    @classmethod
    def check(cls, values: object) -> HParams:
        """Returns a mapping as hyperparameters.

        Raises:
            ValueError: a name or a value is of another type.
        """
        if not isinstance(values, Mapping):
            raise ValueError(values)
        checked = {}
        for name, value in values.items():
            value = value.item() if hasattr(value, "item") else value  # NumPy's
            if not (isinstance(name, str) and name.isidentifier()):
                raise ValueError(name)
            if not isinstance(value, (bool, int, float, str)):
                raise ValueError(value)
            checked[name] = value
        return cls(checked)

    def __str__(self) -> str:
        """Returns the values as on the command line."""
        return ",".join(
            f"{name}={json.dumps(value) if isinstance(value, bool) else value}"
            for name, value in self.items()
        )


def _typed(text: str) -> bool | int | float | str:
    """Returns a number, true or false if a text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _CONSTANTS.get(text.lower(), text)
