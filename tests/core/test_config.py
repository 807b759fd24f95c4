"""Config: defaults, types and ranges of its values, whatever they come from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distmnist.core import flags
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.options import options_of


def parse(*arguments: str) -> Config:
    return flags.parse(Config, ["train", *arguments], usage=None)


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
    assert parse("--log_dir=somewhere").log_dir == "somewhere"
    assert parse("--batch_size", "7", "-batch_size=8").batch_size == 8
    for argument, value in {
        "--xla": True,
        "--noxla": False,
        "--xla=False": False,
        "--xla=1": True,
    }.items():
        assert parse("--xla", argument).xla is value


def test_fake_data_sets_the_dataset() -> None:
    assert parse("--fake_data").dataset == "fake"
    assert parse("--fake_data", "--dataset=fake").dataset == "fake"
    assert parse("--nofake_data").dataset == "auto"
    fake = Config(fake_data=True)
    assert fake.dataset == "fake"
    assert "fake_data" not in dataclasses.asdict(fake)
    assert dataclasses.replace(fake, seed=1).dataset == "fake"
    assert dataclasses.replace(fake, dataset="digits").dataset == "digits"


# Wrong values: as a flag, as an argument from Python, and part of the message.
WRONG = [
    ("batch_size=0", 0, "must be at least 1"),
    ("batch_size=many", "many", "must be a whole number"),
    ("batch_size=1.5", 1.5, "must be a whole number"),
    ("learning_rate=-0.1", -0.1, "must be a positive number"),
    ("learning_rate=0.0", 0.0, "must be a positive number"),
    ("learning_rate=nan", float("nan"), "must be a positive number"),
    ("learning_rate=inf", float("inf"), "must be a positive number"),
    ("learning_rate=fast", "fast", "must be a number"),
    ("max_steps=0", 0, "must be at least 1"),
    ("num_epochs=-1.0", -1.0, "must be a positive number"),
    ("num_epochs=nan", float("nan"), "must be a positive number"),
    ("momentum=1.0", 1.0, "must be in [0, 1)"),
    ("hidden1=0", 0, "must be at least 1"),
    ("hidden2=-3", -3, "must be at least 1"),
    ("log_every=0", 0, "must be at least 1"),
    ("eval_every=-1", -1, "must be at least 0"),
    ("checkpoint_every=-1", -1, "must be at least 0"),
    ("warmup_steps=-1", -1, "must be at least 0"),
    ("seed=-1", -1, "must be in [0, 4294967296)"),
    ("seed=4294967296", 2**32, "must be in [0, 4294967296)"),
    ("lr_scaling=cubic", "cubic", "must be one of linear, sqrt, none"),
    ("compute_dtype=int8", "int8", "must be one of float32, bfloat16, float16"),
    ("xla=maybe", "maybe", "must be true or false"),
    ("fake_sizes=1,2", [1, 2], "must be three numbers of at least 1"),
    ("fake_sizes=1,2,0", (1, 2, 0), "must be three numbers of at least 1"),
    ("fake_sizes=a,b,c", ("a", "b", "c"), "must be whole numbers"),
    ("profile=4,2", (4, 2), "must be FROM,TO: two steps"),
    ("mnist_mirrors=", (), "must be one or more URLs"),
    ("log_dir=gs://bucket/run", "gs://bucket/run", "must be a local path, not a URL"),
    ("input_data_dir=s3://b", "s3://b", "must be a local path, not a URL"),
    ("log_dir=$UNSET/x", "$UNSET/x", "environment variable UNSET is not set"),
    ("log_dir=gs:/bucket", "gs:/bucket", "must be a local path, not a URL"),
    ("log_dir=~no-such-user/x", "~no-such-user/x", "there is no such user"),
]


@pytest.mark.parametrize(("flag", "value", "message"), WRONG)
def test_wrong_values_are_reported_alike(flag: str, value: Any, message: str) -> None:
    name, _, _ = flag.partition("=")
    errors = []
    with pytest.raises(InputError) as caught:
        parse(f"--{flag}")
    errors.append(str(caught.value))
    with pytest.raises(InputError) as caught:
        Config(**{name: value})
    errors.append(str(caught.value))
    assert errors == [f"flag --{flag}: {errors[0].partition(': ')[2]}"] * 2
    assert message in errors[0]
    assert "\n" not in errors[0]


@pytest.mark.parametrize("name", ["log_dir", "model", "dataset"])
def test_empty_values_are_refused(name: str) -> None:
    for wrong in (lambda: parse(f"--{name}="), lambda: Config(**{name: ""})):
        with pytest.raises(InputError, match=f"flag --{name}: a value is required"):
            wrong()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": True}, "flag --seed=True: must be a whole number"),
        ({"batch_size": None}, "flag --batch_size=None: must be a whole number"),
        ({"learning_rate": [0.1]}, "flag --learning_rate=0.1: must be a number"),
        ({"xla": 1}, "flag --xla=1: must be true or false"),
        ({"log_dir": 3}, "flag --log_dir=3: must be a string"),
        ({"fake_sizes": "123"}, "flag --fake_sizes=123: must be whole numbers"),
        ({"mnist_mirrors": "http://a"}, "--mnist_mirrors=http://a: must be strings"),
        ({"log_dir": "gs://a\nb"}, "flag --log_dir=gs://a b: must be a local path"),
        ({"fake_data": "yes"}, "flag --fake_data=yes: must be true or false"),
        (
            {"fake_data": True, "dataset": "mnist"},
            "flags --fake_data and --dataset=mnist: give only one",
        ),
        (
            {"use_adasum": True, "gradient_buckets": 2},
            "flags --use_adasum and --gradient_buckets: give only one",
        ),
    ],
)
def test_wrong_types_from_python(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Config(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_related_types_are_converted() -> None:
    config = Config(
        batch_size=np.int64(7),  # type: ignore[arg-type]
        learning_rate=1,
        momentum=np.float32(0.5),  # type: ignore[arg-type]
        fake_sizes=[5, 6, 7],  # type: ignore[arg-type]
        log_dir=Path("runs/a"),  # type: ignore[arg-type]
    )
    values = dataclasses.asdict(config)
    assert json.loads(json.dumps(values)) == {**values, "fake_sizes": [5, 6, 7]} | {
        "profile": [],
        "image_size": [],
        "lr_drops": [0.5, 0.75],
        "trackers": [],
    }
    assert (values["batch_size"], values["learning_rate"]) == (7, 1.0)
    assert type(values["learning_rate"]) is float
    assert (values["fake_sizes"], values["log_dir"]) == ((5, 6, 7), "runs/a")


def test_paths_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("RUNS", "/scratch/runs")
    for config in (
        Config(log_dir="~/logs", input_data_dir="$RUNS/${RUNS}x/data"),
        parse("--log_dir=~/logs", "--input_data_dir=$RUNS/${RUNS}x/data"),
    ):
        assert config.log_dir == "/home/me/logs"
        assert config.input_data_dir == "/scratch/runs//scratch/runsx/data"
        assert dataclasses.replace(config) == config
    # Not paths.
    assert parse("--mnist_mirrors=http://a,file:///b").mnist_mirrors == (
        "http://a",
        "file:///b",
    )
    monkeypatch.setenv("RUNS", "gs://bucket")
    with pytest.raises(InputError, match="not a URL"):
        Config(log_dir="$RUNS/x")


def test_saved_flags_are_a_flagfile(tmp_path: Path) -> None:
    given = ("--batch_size=7", "--fake_sizes=5,6,7", "--xla", "--profile=2,4")
    parsed = parse(
        *given,
        "--restart",
        "--num_epochs=0.5",
        "--log_dir=some where",
        "--mnist_mirrors=http://a,http://b",
        "--noprogress",
    )
    saved = tmp_path / "flags.txt"
    saved.write_text(flags.to_flags(parsed))
    again = parse(f"--flagfile={saved}")
    assert again == dataclasses.replace(parsed, restart=False)
    # What follows it on the command line takes precedence.
    assert parse(f"--flagfile={saved}", "--batch_size=8").batch_size == 8


def test_every_field_is_an_option_of_a_group_with_help() -> None:
    options = options_of(Config)
    names = {field.name for field in dataclasses.fields(Config)}
    assert options.keys() == names | {"fake_data"}
    for item in options.values():
        assert item.help.endswith(".")
        assert item.group
        # Its own default is valid.
        assert item.check(item.default) == item.default


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda f: f.name)
def test_defaults_are_of_types_that_python_3_10_takes(field: Any) -> None:
    assert not isinstance(field.default, (list, dict, set))


def test_metadata_of_an_older_checkpoint_are_accepted() -> None:
    # As JSON returns them: lists for tuples, and the mirrors spelled out.
    values = {
        **json.loads(json.dumps(dataclasses.asdict(Config(num_epochs=2)))),
        "mnist_mirrors": ["https://a/", "https://b/"],
        "profile": [2, 4],
    }
    config = Config(**values)
    assert config.mnist_mirrors == ("https://a/", "https://b/")
    assert (config.fake_sizes, config.profile) == ((10000, 1000, 1000), (2, 4))


def test_values_of_numpy_are_accepted_and_huge_ones_refused() -> None:
    config = Config(
        restart=np.bool_(True), batch_size=np.int64(7), momentum=np.float32(0.5)
    )
    assert (config.restart, config.batch_size, config.momentum) == (True, 7, 0.5)
    assert (type(config.restart), type(config.batch_size)) == (bool, int)
    for value in (10**400, np.array([1.0, 2.0])):
        with pytest.raises(InputError, match=r"--learning_rate=.*must be a number"):
            Config(learning_rate=value)
    with pytest.raises(InputError, match=r"--log_dir=.*must be a string"):
        Config(log_dir=np.array(["a", "b"]))  # type: ignore[arg-type]


def test_a_path_that_exists_is_taken_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a$UNSET").mkdir()
    assert Config(log_dir="a$UNSET").log_dir == "a$UNSET"


def test_variables_in_the_path_of_a_flagfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flags.txt").write_text("--batch_size=7\n")
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    assert parse("--flagfile=$SOMEWHERE/flags.txt").batch_size == 7


def test_numbers_have_a_limit() -> None:
    with pytest.raises(InputError, match=r"--hidden1=4294967297: must be at most"):
        Config(hidden1=2**32 + 1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--use_adasum", "--optimizer=lars"), "--use_adasum and --optimizer=lars"),
        (("--use_adasum", "--gradient_buckets=2"), "--gradient_buckets"),
        (("--momentum=0.9", "--optimizer=adam"), "--momentum"),
        (("--nesterov",), "--nesterov"),
        (("--nesterov", "--momentum=.9", "--optimizer=lars"), "--nesterov"),
        (("--weight_decay=0.1", "--optimizer=adam"), "--optimizer=adamw"),
        (
            ("--lr_schedule=cosine", "--lr_decay_steps=5", "--lr_decay_epochs=1"),
            "--lr_decay_steps and --lr_decay_epochs",
        ),
        (("--lr_decay_steps=5",), "--lr_schedule"),
        (("--lr_min=0.01",), "--lr_schedule"),
        (("--lr_min=0.2", "--lr_schedule=cosine"), "--learning_rate=0.1"),
        (("--lr_power=3", "--lr_schedule=cosine"), "--lr_schedule=polynomial"),
        (("--lr_decay_rate=0.3",), "--lr_schedule=step or exponential"),
        (("--lr_drops=0.1", "--lr_schedule=linear"), "--lr_schedule=step"),
        (("--lr_schedule=step", "--lr_drops="), "--lr_drops"),
        (("--weight_decay_on=all",), "--weight_decay"),
        (
            ("--weight_decay_on=all", "--weight_decay=1", "--optimizer=a:b"),
            "--optimizer=a:b",
        ),
        (("--early_stopping_min_change=0.1",), "--early_stopping_patience"),
        (("--early_stopping_patience=2", "--eval_every=0"), "--eval_every=0"),
        (("--learning_rate=-1",), "--learning_rate"),
        (("--ema_decay=1",), "--ema_decay"),
        (("--clip_gradient_norm=nan",), "--clip_gradient_norm"),
        (("--weight_decay_on=(",), "--weight_decay_on"),
        (("--lr_drops=0.5,0.2", "--lr_schedule=step"), "--lr_drops"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], named: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_own_optimizers_may_have_momentum() -> None:
    parsed = parse("--optimizer=mine:create", "--momentum=0.9", "--weight_decay=0.1")
    assert parsed.momentum == 0.9
