"""What all kinds of clusters share: the command, the training's flags, the screen."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from distmnist.core.errors import InputError
from launch.submit import __main__ as submit
from launch.submit import training
from launch.submit.screen import Screen
from tests.launching import ROOT, run


def test_the_command_runs_the_program_of_a_kind() -> None:
    flags = ("--image=r/d:1", "--workers=3", "--dry_run", "--", "--max_steps=7")
    module = run((sys.executable, "-m", "launch.submit", "k8s", *flags))
    script = run((ROOT / "launch/submit_k8s", *flags))
    assert "kind: MPIJob" in module.stdout
    assert module.stdout == script.stdout
    assert module.stderr == script.stderr == ""


@pytest.mark.parametrize("arguments", [(), ("lsf",), ("--image=x",)])
def test_the_command_requires_a_known_kind(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(("submit", *arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must be the kind of cluster, one of k8s, slurm" in line


def test_the_help_lists_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(("submit", "--help")) == 0
    listed = re.findall(r"^  (\w+)   ", capsys.readouterr().out, re.MULTILINE)
    packages = [path.parent.name for path in ROOT.glob("launch/submit/*/__init__.py")]
    assert sorted(listed) == sorted(submit.KINDS) == sorted(packages)


def test_a_missing_client_is_reported_in_one_line() -> None:
    program = (
        "import sys; sys.modules['kubernetes'] = None; "  # as if not installed
        "from launch.submit.__main__ import main; sys.exit(main(['submit', 'k8s']))"
    )
    (line,) = run((sys.executable, "-c", program), status=2).stderr.splitlines()
    assert "kubernetes" in line
    assert "run launch/setup.sh" in line


def test_flags_of_the_training_come_after_two_dashes() -> None:
    assert training.split(["submit", "--a", "--", "--b", "--", "c"]) == (
        ["submit", "--a"],
        ["--b", "--", "c"],
    )
    assert training.split(["submit", "--a"]) == (["submit", "--a"], [])


def test_environment_variables_are_those_of_the_cluster() -> None:
    config = training.check(["--log_dir=$RUNS/one", "--max_steps=7"])
    assert config.max_steps == 7
    assert not Path(config.log_dir).exists()


@pytest.mark.parametrize("flag", ["--max_steps=-1", "--bogus", "--dataset=:imagenet"])
def test_wrong_flags_of_the_training_are_refused(flag: str) -> None:
    with pytest.raises(InputError, match=flag.strip("-").split("=")[0]):
        training.check([flag])


@pytest.mark.parametrize(
    ("flags", "step"),
    [
        ([], 2000),
        (["--max_steps=300"], 300),
        (["--num_epochs=2"], None),  # depends on the data set
        (["--of_another_version"], None),
    ],
)
def test_the_last_step_is_known_from_the_flags(
    flags: list[str], step: int | None
) -> None:
    assert training.last_step(flags) == step


def test_progress_is_read_from_the_log() -> None:
    line = "Step 100: loss = 0.57 (0.001 sec)"
    assert training.progress(line, 300) == "step 100 of 300, loss 0.57"
    assert training.progress(line, None) == "step 100, loss 0.57"
    assert training.progress("Test Data Eval:", 300) is None


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("0.57", 0.57), ("nan", None), ("-inf", None), ("0.5,", None)],  # of own code
)
def test_progress_is_json(loss: str, expected: float | None) -> None:
    found = training.newest_step([f"Step 5: loss = {loss} (0.001 sec)"], None)
    assert found == {"step": 5, "last_step": None, "loss": expected}


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ("| true", 141, ""),
        ("> /dev/full", 1, "submit_k8s: standard output: No space left on device\n"),
        (">&-", 2, ""),
    ],
)
@pytest.mark.parametrize("flags", ["--help", "--image=d:1 --dry_run"])
def test_output_that_cannot_be_written(
    output: str, status: int, message: str, flags: str
) -> None:
    program = f"{sys.executable} {ROOT / 'launch/submit_k8s'}"
    # The reader has ended when the program writes.
    script = f"(sleep 1; exec {program} {flags}) {output}; exit ${{PIPESTATUS[0]}}"
    assert run(("bash", "-c", script), status=status).stderr == message


def test_without_a_terminal_each_change_of_state_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen("submit")
    screen.state("running", "")
    screen.state("running", ", step 100")
    screen.log("Step 100")
    screen.state("ended", ", step 200")
    screen.report("done")
    printed = capsys.readouterr()
    assert printed.out == "Step 100\n"
    assert printed.err.splitlines() == [
        "submit: running",
        "submit: ended",
        "submit: done",
    ]
