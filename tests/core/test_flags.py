"""Flags from options: help, version, flag files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distmnist import __version__
from distmnist.core import flags
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.options import groups_of, option, reuse, validate
from distmnist.core.rules import at_least


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a program."""

    files: tuple[str, ...] = option(
        (), "Inputs.", "Input", path=True, positional=True, required=True
    )
    log_dir: str = reuse(Config, "log_dir", default="elsewhere", help="Another help.")
    count: int = option(3, "How many.", "Output", at_least(2), unit="files")

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)


def parse(*arguments: str) -> Options:
    return flags.parse(Options, ["program", *arguments], "Does nothing.", "a hint")


def printed(
    capsys: pytest.CaptureFixture[str], options_class: type, flag: str
) -> list[str]:
    with pytest.raises(SystemExit) as end:
        flags.parse(options_class, ["program", flag], "Does nothing.")
    assert end.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_arguments_and_flags_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    expected = Options(("a,b", "/home/me/c"), "elsewhere", 5)
    assert parse("a,b", "--count=5", "~/c") == expected
    assert parse("--count", "5", "--", "a,b", "~/c") == expected
    assert parse("--", "--count=5").files == ("--count=5",)


def test_a_shared_option_keeps_what_is_not_overridden() -> None:
    with pytest.raises(InputError, match="not a URL"):
        parse("x", "--log_dir=gs://x")
    with pytest.raises(InputError, match="flag --log_dir: a value is required"):
        parse("x", "--log_dir=")
    assert parse("x").log_dir == "elsewhere"


def test_calls_are_independent() -> None:
    assert parse("x", "--count=5", "--verbosity=1").count == 5
    assert flags.verbosity() == 1
    assert parse("x").count == 3
    assert flags.verbosity() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "argument FILE: a value is required"),
        (("s3://a",), "argument FILE=s3://a: must be a local path, not a URL"),
        (("x", "--cuont=1"), "Unknown command line flag 'cuont'. Did you mean: count"),
        (("x", "--cuont=1"), "(a hint)"),
        (("x", "--count"), "Missing value for flag --count (a hint)"),
        (("x", "--nohelp=1"), "--nohelp=1 does not take an argument"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert message in str(caught.value)


def test_wrong_flagfiles(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    noise = tmp_path / "noise"
    noise.write_text("no flags\n\0\x01" + "x" * 10000)
    for path, message in (
        (tmp_path / "none.txt", "none.txt"),
        (tmp_path, "Is a directory"),
        (binary, "is not a text file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            flags.parse(Config, ["train", f"--flagfile={path}"], None)
        assert "\n" not in str(caught.value)
        assert "ERROR" not in str(caught.value)
    with pytest.raises(InputError, match="argument 'no flags'"):
        flags.parse(Config, ["train", f"--flagfile={noise}"], None)


@pytest.mark.parametrize("options_class", [Config, Options])
def test_help_is_by_group(
    capsys: pytest.CaptureFixture[str], options_class: type
) -> None:
    lines = printed(capsys, options_class, "--help")
    assert lines[0] == "Does nothing."
    assert max(map(len, lines)) <= 88
    text = "\n".join(lines)
    place = -1
    for group, items in groups_of(options_class).items():
        place = text.index(f"\n{group}:\n", place + 1)
        for item in items:
            name = "FILE ..." if item.positional else f"{item.name} "
            place = text.index(name, place + 1)
    assert "--logtostderr" not in text  # absl's are in --helpfull
    assert printed(capsys, options_class, "-h") == lines


def test_help_shows_default_unit_and_range(capsys: pytest.CaptureFixture[str]) -> None:
    line = "  --count                     How many. [default 3 files; at least 2]"
    assert line in printed(capsys, Options, "--help")
    text = " ".join(" ".join(printed(capsys, Config, "--help")).split())
    for part in (
        "[default 20.0 seconds; a positive number]",
        "[epochs; a positive number]",
        "--[no]xla Compile the network with XLA. For GPUs. [default false]",
        "digits: scikit-learn's",  # from the registry
        "cnn: convolutional",
    ):
        assert part in text


def test_helpfull_adds_absls_flags(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Config, "--helpfull")
    shown = [line.split()[0] for line in lines if line.startswith("  --")]
    assert "--[no]logtostderr" in shown
    assert shown.count("--log_dir") == 1
    assert (
        lines[: len(lines) // 2] == printed(capsys, Config, "--help")[: len(lines) // 2]
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Options, "--version")
    assert lines[0] == f"distmnist {__version__}"
    assert [line.split()[0] for line in lines[1:]] == [
        "tensorflow",
        "horovod",
        "mpi4py",
        "python",
    ]
