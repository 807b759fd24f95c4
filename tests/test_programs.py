"""All programs alike: wrong flags, help, version; in this process, as that is fast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distmnist import __main__ as index
from distmnist import __version__, evaluate, export, predict, prepare, report, train
from launch.submit.k8s import program as submit
from tests.launching import ROOT, messages, run


def submit_main() -> None:
    sys.exit(submit.main(sys.argv))


# What each program needs beside the flags of a test.
PROGRAMS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "distmnist": (index.main, ()),
    "train": (train.main, ()),
    "evaluate": (evaluate.main, ()),
    "predict": (predict.main, ("digit.png",)),
    "export": (export.main, ("--export_dir=exported",)),
    "report": (report.main, ()),
    "prepare": (prepare.main, ("digits", "prepared")),
    "submit_k8s": (submit_main, ("--image=distmnist:cpu",)),
}
WRONG_FLAGS = {
    "unknown": (("--bogus",), "Unknown command line flag 'bogus'"),
    "no value": (("--flagfile",), "--flagfile with no argument"),
    "missing flagfile": (("--flagfile=none.txt",), "none.txt"),
    "binary flagfile": (("--flagfile=BINARY",), "is not a text file"),
    "directory as flagfile": (("--flagfile=.",), "Is a directory"),
    "flagfile of wrong flags": (("--flagfile=WRONG",), "'bogus'"),
    "wrong verbosity": (("--verbosity=loud",), "--verbosity=loud"),
}
WRONG_VALUES = [
    ("distmnist", ("--markdown=maybe",), "flag --markdown=maybe: must be true or"),
    ("distmnist", ("train",), "the programs are modules: distmnist.train"),
    ("train", ("--batch_size=many",), "flag --batch_size=many: must be a whole number"),
    (
        "train",
        ("--dataset=imagenet",),
        "flag --dataset=imagenet: there is no such path",
    ),
    ("train", ("--model=rnn",), "flag --model=rnn: must be mlp, cnn"),
    ("train", ("--model=..x:y",), "flag --model=..x:y: must be mlp, cnn"),
    ("train", ("--dataset=a\nb",), "flag --dataset=a b: there is no such path"),
    (
        "train",
        ("--dataset=s3://bucket/data",),
        "a URL is read from a local copy",
    ),
    ("train", ("--log_dir=s3://bucket/run",), "must be a local path, not a URL"),
    ("train", ("stray",), "argument 'stray': only flags are accepted"),
    ("evaluate", ("--split=all",), "flag --split=all: must be one of train, "),
    ("evaluate", ("--log_dir=http://host/run",), "must be a local path, not a URL"),
    ("evaluate", ("--input_data_dir=file:///data",), "must be a local path, not a URL"),
    (
        "evaluate",
        ("--dataset=http://h/d?key=x",),
        "h/d?...: must be without user,",
    ),
    ("evaluate", ("--local_dir=file:///data",), "must be a local path, not a URL"),
    ("evaluate", ("stray",), "argument 'stray': only flags are accepted"),
    ("predict", ("gs://bucket/digit.png",), "must be a local path, not a URL"),
    ("predict", ("--json=maybe",), "flag --json=maybe: must be true or false"),
    ("export", ("--export_dir=gs://bucket/1",), "must be a local path, not a URL"),
    ("export", ("--export_dir=",), "flag --export_dir: a value is required"),
    ("export", ("stray",), "argument 'stray': only flags are accepted"),
    ("report", ("--compare=logs,gs://b/run",), "must be a local path, not a URL"),
    ("report", ("--output=s3://b/report.html",), "must be a local path, not a URL"),
    ("report", ("--png_dir=$UNSET/png",), "environment variable UNSET is not set"),
    ("report", ("stray",), "argument 'stray': only flags are accepted"),
    ("prepare", ("stray",), "3 arguments: give two, SOURCE and DIRECTORY"),
    ("prepare", ("--compression=gzip",), "must be one of none, zlib"),
    ("submit_k8s", ("--workers=many",), "flag --workers=many: must be a whole number"),
    ("submit_k8s", ("stray",), "flags of the training come after --"),
    ("submit_k8s", ("--", "stray"), "argument 'stray': only flags are accepted"),
    ("submit_k8s", ("--", "--dataset=..x:y"), "flag --dataset=..x:y: must be"),
    ("submit_k8s", ("--", "--model=rnn"), "flag --model=rnn: must be mlp, cnn"),
    ("submit_k8s", ("--", "--flagfile=BINARY"), "pods do not have the file"),
]
WRONG = [
    (name, flags, message)
    for name in PROGRAMS
    for flags, message in WRONG_FLAGS.values()
] + WRONG_VALUES


def end(name: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs a program up to its exit, and returns the exit status."""
    main, needed = PROGRAMS[name]
    monkeypatch.setattr(sys, "argv", [name, *needed, *flags])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0


@pytest.mark.parametrize(("name", "flags", "message"), WRONG)
def test_wrong_flags_are_reported_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flags: tuple[str, ...],
    message: str,
) -> None:
    def import_tensorflow() -> None:
        raise AssertionError("TensorFlow is imported before the flags are checked")

    monkeypatch.setattr(
        "distmnist.distributed.devices.import_tensorflow", import_tensorflow
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNSET", raising=False)
    Path("BINARY").write_bytes(bytes(range(256)))
    Path("WRONG").write_text("--bogus\n")
    status = end(name, flags, monkeypatch)
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    (line,) = captured.err.splitlines()
    assert line.startswith("submit_k8s: " if name == "submit_k8s" else "distmnist: "), (
        line
    )
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BINARY", "WRONG"]


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "--version"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_help_and_version(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flag: str,
) -> None:
    assert end(name, (flag,), monkeypatch) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert max(map(len, lines)) <= 88
    if flag == "--version":
        assert lines[0] == f"distmnist {__version__}"
    else:
        assert any(line.startswith("Usage: ") for line in lines)
        assert "General:" in lines
        assert ("Logging:" in lines) == (flag == "--helpfull")


def test_the_package_lists_the_programs() -> None:
    done = run((sys.executable, "-m", "distmnist"))
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == list(index.PROGRAMS)
    assert max(map(len, lines)) <= 88
    for name in index.PROGRAMS:
        assert (ROOT / "distmnist" / f"{name}.py").is_file()


@pytest.mark.parametrize("name", ["", *(f"-{name}" for name in index.PROGRAMS)])
def test_each_program_is_a_command(name: str) -> None:
    done = run((f"distmnist{name}", "--version"))
    assert done.stdout.startswith(f"distmnist {__version__}\n")


@pytest.mark.parametrize("name", index.PROGRAMS)
def test_tensorflow_is_not_imported_to_parse_flags(name: str) -> None:
    code = (
        f"import sys; from distmnist import {name} as program\n"
        "try: program.main()\n"
        "except SystemExit as end: assert end.code == 2, end\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = run((sys.executable, "-c", code, "--bogus"))
    assert len(messages(done.stderr)) == 1
