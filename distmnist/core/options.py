"""Options: dataclass fields that carry all there is to know about a flag.

A field made by `option` has its type in the annotation, and its help, unit, group and
range in the metadata. `validate` checks a whole instance against them, whether its
values come from flags or from Python; `distmnist.core.flags` defines the flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import numbers
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from distmnist.core import urls
from distmnist.core.errors import InputError
from distmnist.core.hparams import HParams
from distmnist.core.rules import Rule

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # also where `Path` made one of "//"
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")

# `typing.get_type_hints` rejects `InitVar` on Python 3.10.
_ANNOTATION = re.compile(
    r"(?:dataclasses\.InitVar\[)?(tuple\[)?(bool|int|float|str|HParams)\b.*?( \| None)?"
)
# What a value of each type is called: one, and several.
_TYPES: dict[str, tuple[str, str]] = {
    "bool": ("true or false", "true or false"),
    "int": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "str": ("a string", "strings"),
    "HParams": ("name=value,...: each name once", ""),
}
# Of whole numbers: TensorFlow's errors beyond 64 bits name no flag.
_LARGEST = 2**32
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def option(
    default: Any,
    help: str,
    group: str,
    *rules: Rule,
    unit: str = "",
    path: bool = False,
    required: bool = False,
    positional: bool = False,
) -> Any:
    """Returns a dataclass field that is an option.

    Args:
        default: its default.
        help: one sentence or more.
        group: heading of the help under which it is listed.
        *rules: its range; None is in the range of an option that may be None.
        unit: unit of the value, such as "seconds".
        path: local path(s), in which `~` and environment variables are expanded.
        required: neither "" nor () are valid.
        positional: takes the positional arguments.
    """
    metadata = {
        "help": help,
        "group": group,
        "rules": rules,
        "unit": unit,
        "path": path,
        "required": required,
        "positional": positional,
    }
    return _field(default, metadata)


def _field(default: Any, metadata: Mapping[str, Any]) -> Any:
    """Returns a dataclass field, whose default may be a dictionary."""
    if isinstance(default, dict):  # which Python 3.10 does not take as it is
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Returns the default of a field of `option`."""
    if field.default is dataclasses.MISSING:
        return cast(Callable[[], Any], field.default_factory)()
    return field.default


def reuse(options_class: type, name: str, **changes: Any) -> Any:
    """Returns a field like one of another class, for a flag that programs share.

    Args:
        options_class: class that defines the option.
        name: its name.
        **changes: arguments of `option` that differ.
    """
    field = options_class.__dataclass_fields__[name]  # type: ignore[attr-defined]
    metadata = {**field.metadata, **changes}
    default = metadata.pop("default", default_of(field))
    return _field(default, metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a dataclass; the arguments of `option`, and its type.

    Attributes:
        type: "bool", "int", "float" or "str": of the value, or of each of several; or
            "HParams".
        many: the value is a tuple.
        optional: the value may be None.
    """

    name: str
    type: str
    many: bool
    optional: bool
    default: Any
    help: str
    group: str
    rules: tuple[Rule, ...]
    unit: str
    path: bool
    required: bool
    positional: bool

    def parse(self, text: str) -> Any:
        """Parses the text of a flag.

        Raises:
            InputError: the text is of another type.
        """
        several = self.many or self.type == "HParams"
        words = [word.strip() for word in text.split(",")] if several else [text]
        try:
            if self.type == "HParams":
                return HParams.parse(words if text else ())
            values = [self._parse_one(word) for word in words if text or not self.many]
        except (KeyError, ValueError):
            raise self._error(text, self._type_name) from None
        return tuple(values) if self.many else values[0]

    def _parse_one(self, word: str) -> bool | int | float | str:
        if self.type == "bool":
            return _BOOLEANS[word.lower()]
        if self.type == "int":
            return int(word)
        return float(word) if self.type == "float" else word

    def check(self, value: Any) -> Any:
        """Returns a value in the option's type, paths expanded.

        Whole numbers are accepted as numbers, NumPy's numbers as Python's, a list as
        a tuple, and `os.PathLike` as a path.

        Raises:
            InputError: it is of another type, or out of range.
        """
        if value is None and self.optional:
            return None
        if self.required and isinstance(value, (str, tuple, list)) and not value:
            raise InputError(f"{self._label}: a value is required")
        if self.type == "HParams":
            try:
                checked: Any = HParams.check(value)
            except ValueError:
                raise self._error(value, self._type_name) from None
        elif not self.many:
            checked = self._check_one(value, value)
        elif isinstance(value, (tuple, list)):
            checked = tuple(self._check_one(item, value) for item in value)
        else:
            raise self._error(value, self._type_name)
        for rule in self.rules:
            if not rule.accepts(checked):
                raise self._error(value, rule.text)
        return checked

    def _check_one(self, value: Any, whole: Any) -> Any:
        if self.type == "bool" and isinstance(value, (bool, np.bool_)):
            return bool(value)
        if self.path and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if self.type == "str" and isinstance(value, str) and "\0" not in value:
            if urls.has_secrets(value):  # it would be logged, and be in checkpoints
                raise self._error(
                    whole,
                    "without user, password, query and fragment; credentials are "
                    "taken from the environment",
                )
            return self._expand(value) if self.path else value
        if not isinstance(value, bool):  # which Python counts among the integers
            if self.type == "int" and isinstance(value, numbers.Integral):
                if abs(int(value)) > _LARGEST:
                    raise self._error(whole, f"at most {_LARGEST}")
                return int(value)
            if self.type == "float" and isinstance(value, numbers.Real):
                with contextlib.suppress(OverflowError):
                    return float(value)
        raise self._error(whole, self._type_name)

    def _expand(self, path: str) -> str:
        """Expands `~` and environment variables.

        Otherwise directories called "~", "$SCRATCH" or "gs:" would be created.
        """
        expanded = os.path.expandvars(os.path.expanduser(path))
        if _URL.match(expanded):
            raise self._error(path, "a local path, not a URL")
        if expanded.startswith("~"):
            raise self._error(path, "a local path; there is no such user")
        unset = _VARIABLE.search(expanded)
        if unset and not os.path.exists(path):  # where it may be part of the name
            raise self._error(
                path, f"a local path; the environment variable {unset[1]} is not set"
            )
        return expanded

    def _error(self, value: Any, rule: str) -> InputError:
        text = urls.without_secrets(as_text(value))
        return InputError(" ".join(f"{self._label}={text}: must be {rule}".split()))

    @property
    def _label(self) -> str:
        return "argument FILE" if self.positional else f"flag --{self.name}"

    @property
    def _type_name(self) -> str:
        return _TYPES[self.type][self.many]

    @property
    def default_text(self) -> str:
        """The default as on the command line; "" for None and ()."""
        if self.default is None:
            return ""
        text = as_text(self.default)
        return text.lower() if self.type == "bool" else text

    @property
    def range_text(self) -> str:
        """The range in words; "" if there is none."""
        texts = [rule.text for rule in self.rules]
        if self.required and not self.default:
            texts.insert(0, "required")
        return ", ".join(texts)


def as_text(value: Any) -> str:
    """Returns a value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def options_of(options_class: type) -> dict[str, Option]:
    """Returns the options of a dataclass by name, in the order of their definition.

    Other fields are ignored. An `InitVar` may be an option: a flag that decides the
    value of others.
    """
    found = {}
    fields = options_class.__dataclass_fields__  # type: ignore[attr-defined]
    for name, field in fields.items():
        if not field.metadata:
            continue
        annotation = _ANNOTATION.fullmatch(field.type)
        if not annotation:
            raise TypeError(f"{options_class.__name__}.{name}: no type of an option")
        many, kind, optional = annotation.groups()
        found[name] = Option(
            name, kind, bool(many), bool(optional), default_of(field), **field.metadata
        )
    return found


def groups_of(options_class: type) -> dict[str, list[Option]]:
    """Returns the options of a dataclass by their group."""
    groups: dict[str, list[Option]] = {}
    for item in options_of(options_class).values():
        groups.setdefault(item.group, []).append(item)
    return groups


def validate(instance: Any) -> None:
    """Checks all options of an instance, and brings their values into their types.

    Frozen dataclasses call it from `__post_init__`.

    Raises:
        InputError: a value is of another type, or out of range.
    """
    options = options_of(type(instance))
    for field in dataclasses.fields(instance):
        if field.name in options:
            value = options[field.name].check(getattr(instance, field.name))
            object.__setattr__(instance, field.name, value)
