"""Flags: what they become, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distmnist.core import config
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from tests import launching


def parse(*arguments: str) -> Config:
    config.define_flags()
    launching.reset_flags()
    return config.parse(["train", *arguments])


def test_defaults_are_the_tutorials() -> None:
    parsed = parse()
    assert parsed == Config()
    assert (parsed.learning_rate, parsed.max_steps, parsed.batch_size) == (
        0.1,
        2000,
        100,
    )
    assert (parsed.hidden1, parsed.hidden2) == (128, 32)


def test_flags_become_fields() -> None:
    parsed = parse("--batch_size=7", "--fake_sizes=5,6,7", "--mnist_mirrors=a,b")
    assert parsed.batch_size == 7
    assert parsed.fake_sizes == (5, 6, 7)
    assert parsed.mnist_mirrors == ("a", "b")
    assert parse("--fake_data").dataset == "fake"
    assert parse("--log_dir=somewhere").log_dir == "somewhere"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bogus"], "bogus"),
        (["--batch_sizes=1"], "batch_size"),
        (["stray"], "stray"),
        (["--batch_size=0"], "--batch_size=0: must be at least 1"),
        (["--batch_size=many"], "--batch_size=many"),
        (["--learning_rate=-0.1"], "--learning_rate=-0.1: must be"),
        (["--learning_rate=0"], "--learning_rate=0"),
        (["--learning_rate=nan"], "--learning_rate=nan: must be"),
        (["--learning_rate=inf"], "--learning_rate=inf: must be"),
        (["--max_steps=0"], "--max_steps=0"),
        (["--num_epochs=-1"], "--num_epochs=-1"),
        (["--num_epochs=nan"], "--num_epochs=nan"),
        (["--hidden1=0"], "--hidden1=0"),
        (["--hidden2=-3"], "--hidden2=-3"),
        (["--log_every=0"], "--log_every=0"),
        (["--eval_every=-1"], "--eval_every=-1"),
        (["--checkpoint_every=-1"], "--checkpoint_every=-1"),
        (["--warmup_steps=-1"], "--warmup_steps=-1"),
        (["--seed=-1"], "--seed=-1"),
        (["--seed=4294967296"], "--seed=4294967296"),
        (["--lr_scaling=cubic"], "cubic"),
        (["--dataset=imagenet"], "imagenet"),
        (["--fake_sizes=1,2"], "--fake_sizes"),
        (["--fake_sizes=1,2,0"], "--fake_sizes"),
        (["--fake_sizes=a,b,c"], "--fake_sizes=a,b,c"),
        (["--mnist_mirrors="], "--mnist_mirrors"),
        (["--log_dir="], "--log_dir"),
        (["--fake_data", "--dataset=mnist"], "--fake_data"),
    ],
)
def test_bad_flags_are_told_in_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_saved_flags_are_a_flagfile(tmp_path: Path) -> None:
    given = ("--batch_size=7", "--fake_sizes=5,6,7", "--xla", "--profile=2,4")
    parsed = parse(*given, "--restart", "--num_epochs=0.5", "--log_dir=some where")
    saved = tmp_path / "flags.txt"
    saved.write_text(config.to_flags(parsed))
    again = parse(f"--flagfile={saved}")
    assert again == dataclasses.replace(parsed, restart=False)
    # What stands behind it on the command line wins.
    assert parse(f"--flagfile={saved}", "--batch_size=8").batch_size == 8


def test_a_missing_flagfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt"):
        parse(f"--flagfile={tmp_path / 'none.txt'}")


def test_help_is_short_and_by_subject(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    place = -1
    for subject, names in config.SUBJECTS.items():
        for text in (f"\n{subject}:\n", *(f"{name}" for name in names)):
            place = printed.index(text, place + 1)
    assert "--logtostderr" not in printed  # absl's own are in --helpfull
    assert max(map(len, printed.splitlines())) <= 88
    named = [name for names in config.SUBJECTS.values() for name in names]
    assert sorted(named) == sorted([*Config.__dataclass_fields__, "fake_data"])


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--helpfull")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for name in Config.__dataclass_fields__:
        assert f"--{name}:" in printed or f"--[no]{name}:" in printed
