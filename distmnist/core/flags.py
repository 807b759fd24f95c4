"""absl flags from options: parsing, `--help`, `--version`, and docs/flags.md."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, TypeVar

from absl import flags, logging

from distmnist import __version__
from distmnist.core import errors
from distmnist.core.errors import InputError
from distmnist.core.options import Option, as_text, groups_of, options_of

T = TypeVar("T")

_WIDTH = 88
_INDENT = 30  # column of the text in --help

# Flags that every program has, beside its options.
_GENERAL = {
    "help": "Show this help.",
    "helpfull": "Show this help, and the other flags of absl's logging.",
    "version": "Show the versions of distmnist and of the libraries it runs on.",
    "flagfile": "File of flags, one per line, such as the flags.txt in a --log_dir; "
    "what follows it on the command line takes precedence.",
    "debug": "Also print the traceback of an error in your own code.",
    "verbosity": "1: also show what TensorFlow and Horovod log; -1: warnings only. "
    "[default 0]",
}
_LIBRARIES = ("tensorflow", "horovod", "mpi4py")


def parse(
    options_class: type[T],
    argv: Sequence[str],
    usage: str | None,
    hint: str = "--help lists all",
) -> T:
    """Turns a command line into an instance of a dataclass of options.

    Args:
        options_class: the dataclass.
        argv: the program's name and its arguments.
        usage: head of the help: what the program is, and how it is started.
        hint: what a user who gave an unknown flag should know.

    Raises:
        InputError: a flag or argument is unknown, or its value wrong.
        SystemExit: after `--help`, `--helpfull` and `--version`, with status 0.
    """
    values = _define(options_class, usage or "")
    try:
        # absl expands `~` there, but not variables.
        arguments = values(
            [os.path.expandvars(w) if w.startswith("--flagfile=") else w for w in argv]
        )[1:]
    except UnicodeDecodeError as error:
        raise InputError(f"flag --flagfile: is not a text file ({error})") from None
    except (flags.Error, ValueError) as error:
        reason = " ".join(str(error).removeprefix("ERROR:: ").split())
        raise InputError(f"{reason} ({hint})") from None
    errors.debug = bool(values["debug"].value)
    given: dict[str, Any] = {}
    for item in options_of(options_class).values():
        if item.positional:
            given[item.name], arguments = tuple(arguments), []
        elif values[item.name].present:
            given[item.name] = values[item.name].value
    if arguments:
        raise InputError(
            f"argument {arguments[0][:100]!r}: only flags are accepted, as "
            f"--name=value ({hint})"
        )
    return options_class(**given)


def verbosity() -> int:
    """Returns absl's --verbosity as parsed; 0, which is INFO, if it was not given."""
    flag: Any = flags.FLAGS["verbosity"]
    return int(flag.value) if flag.present else logging.INFO


def to_flags(options: Any) -> str:
    """Returns options as the content of a flag file.

    All but `restart`, which is a request and not a setting.
    """
    return "".join(
        f"--{name}={as_text(value)}\n"
        for name, value in dataclasses.asdict(options).items()
        if value not in (None, "", (), {}) and name != "restart"
    )


class _Parser(flags.ArgumentParser):  # type: ignore[type-arg]
    """Has an option parse the text of its flag."""

    def __init__(self, item: Option):
        self._option = item

    def parse(self, argument: str) -> Any:
        return self._option.parse(argument)


class _PrintAndExit(flags.BooleanFlag):
    """A flag that prints a text as soon as it is parsed, and ends the process."""

    def __init__(self, name: str, text: Callable[[], str], short_name: str | None):
        super().__init__(name, False, _GENERAL[name], short_name=short_name)
        self._text = text

    def parse(self, argument: Any) -> None:
        super().parse(argument)
        if self.value:
            sys.stdout.write(f"{self._text()}\n")
            sys.exit(0)


def _define(options_class: type, usage: str) -> flags.FlagValues:
    """Returns the flags of a program, none of which has been given.

    They are not `flags.FLAGS`, as programs have flags of the same name.
    """
    values: flags.FlagValues = flags.FlagValues()  # type: ignore[no-untyped-call]
    values.set_gnu_getopt(True)  # flags may follow arguments
    # Defaults are those of the dataclass: a flag has a value only if it is given.
    for item in options_of(options_class).values():
        if not item.positional:
            boolean = item.type == "bool"
            flag: Any = flags.Flag(
                _Parser(item), None, item.name, None, item.help, boolean=boolean
            )
            flags.DEFINE_flag(flag, flag_values=values)

    def print_and_exit(
        name: str, text: Callable[[], str], short_name: str | None = None
    ) -> None:
        flag = _PrintAndExit(name, text, short_name)
        flags.DEFINE_flag(flag, flag_values=values)

    print_and_exit("help", lambda: _help(options_class, usage), "h")
    print_and_exit("helpfull", lambda: _help(options_class, usage, full=True))
    print_and_exit("version", _versions)
    flags.DEFINE_boolean("debug", False, _GENERAL["debug"], flag_values=values)
    for flag in _logging_flags():
        if flag.present:  # in an earlier call
            flag.unparse()
        values[flag.name] = flag
    # absl's logging asks, and its flags have defaults.
    flags.FLAGS.mark_as_parsed()
    return values


def _logging_flags() -> list[Any]:
    """Returns the flags of absl's logging, but for its `--log_dir`: unused here."""
    defined = flags.FLAGS.flags_by_module_dict()[logging.__name__]
    return [flag for flag in defined if flag.name != "log_dir"]


def _versions() -> str:
    """Returns what --version prints; nothing is imported for it."""
    lines = [f"distmnist {__version__}"]
    lines += [f"{name} {_version(name)}" for name in _LIBRARIES]
    return "\n".join([*lines, f"python {platform.python_version()}"])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _help(options_class: type, usage: str, full: bool = False) -> str:
    """Returns what --help prints: the flags by group."""
    lines = [usage.strip(), ""]
    for group, items in groups_of(options_class).items():
        lines.append(f"{group}:")
        for item in items:
            default = item.default_text and f"default {item.default_text}"
            value = " ".join(filter(None, (default, item.unit)))
            notes = "; ".join(filter(None, (value, item.range_text)))
            name = _flag_name(item)
            lines.append(_entry(name, f"{item.help} [{notes}]" if notes else item.help))
        lines.append("")
    lines.append("General:")
    lines += [_entry(f"--{name}", text) for name, text in _GENERAL.items()]
    if full:
        lines += ["", "Logging:"]
        for flag in _logging_flags():
            name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
            lines.append(_entry(name, flag.help))
    return "\n".join(lines)


def _flag_name(item: Option) -> str:
    if item.positional:
        return "FILE ..."
    return f"--[no]{item.name}" if item.type == "bool" else f"--{item.name}"


def _entry(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {name:<{_INDENT - 3}} ",
        subsequent_indent=" " * _INDENT,
        break_on_hyphens=False,
    )


def markdown(options_class: type) -> str:
    """Returns the options of a program as Markdown, a table per group."""
    lines = []
    for group, items in groups_of(options_class).items():
        lines += [
            f"### {group}",
            "",
            "| flag | default | unit | range | |",
            "|---|---|---|---|---|",
        ]
        for item in items:
            cells = (
                f"`{_flag_name(item)}`",
                f"`{item.default_text}`" if item.default_text else "",
                item.unit,
                item.range_text,
                item.help,
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def general_markdown() -> str:
    """Returns the flags that every program has as Markdown."""
    rows = [f"| `--{name}` | {text} |" for name, text in _GENERAL.items()]
    return "\n".join(["| flag | |", "|---|---|", *rows, ""])
