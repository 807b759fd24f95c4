"""The run directory: names, the lock, leftovers, the archive."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from absl import logging

from distmnist.core.errors import InputError, RunError
from distmnist.core.run_directory import RunDirectory
from tests.launching import ROOT


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_steps_are_those_of_any_checkpoint_file(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert RunDirectory(tmp_path / "missing").checkpoint_steps() == []
    touch(
        tmp_path / "model.ckpt-9.index",
        tmp_path / "model.ckpt-10.sha256",
        tmp_path / "model.ckpt-200.data-00000-of-00001",
        tmp_path / "model.ckpt-200.index",
        tmp_path / "model.ckpt-7.old",
        tmp_path / ".model.ckpt-8.index",
        tmp_path / "my-model.ckpt-6.index",
    )
    assert run.checkpoint_steps() == [200, 10, 9]
    assert run.checkpoint(200) == str(tmp_path / "model.ckpt-200")
    assert RunDirectory(".").checkpoint(200) == "./model.ckpt-200"


def test_only_its_own_leftovers_are_removed(tmp_path: Path) -> None:
    own = [tmp_path / ".model.ckpt-5.index", tmp_path / "best/.model.ckpt-5.index"]
    others = [tmp_path / "other/.model.ckpt-5.index", tmp_path / ".model.ckpt-notes"]
    RunDirectory(tmp_path).prepare(restart=False)
    touch(*own, *others)
    run = RunDirectory(tmp_path)
    run.prepare(restart=False)
    run.release()
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)


def test_the_lock_is_exclusive_and_ends_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(logging, "info", lambda text, *v: logged.append(text % v))
    program = (
        "import sys; from distmnist.core.run_directory import RunDirectory\n"
        f"run = RunDirectory({str(tmp_path)!r}); run.prepare(restart=False)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout and process.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"in use by process {process.pid} on "):
            RunDirectory(tmp_path).prepare(restart=False)
        run = RunDirectory(tmp_path)
        with pytest.raises(InputError, match=f"in use by process {process.pid} on "):
            run.prepare(restart=False, lock_seconds=0.5)
        threading.Timer(0.5, process.kill).start()
        run.prepare(restart=False, lock_seconds=60)
    run.release()
    holder = f"in use by process {process.pid} on {socket.gethostname()}"
    assert [message.partition(": ")[2] for message in logged] == [
        f"{holder}: waiting up to {seconds} s for its end" for seconds in ("0.5", "60")
    ]
    RunDirectory(tmp_path).prepare(restart=False)


def test_an_empty_lock_file_names_no_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.prepare(restart=False)
    (tmp_path / "lock").write_text("")
    with pytest.raises(InputError, match="in use by another process"):
        RunDirectory(tmp_path).prepare(restart=False)
    run.release()
    run.prepare(restart=False)


def test_a_kill_never_leaves_a_lock_without_its_holder(tmp_path: Path) -> None:
    longer = {"host": "a" * 300, "pid": 1}
    (tmp_path / "lock").write_text(json.dumps(longer))
    RunDirectory(tmp_path).prepare(restart=False)
    # One write, which replaces all of the previous holder.
    holder = json.loads((tmp_path / "lock").read_text())
    assert holder["pid"] == os.getpid()


FOREIGN = [
    "metrics.jsonl",
    "flags.txt",
    "report.html",
    "events.out.tfevents.1.host",
    "model.ckpt-5.index",
    ".model.ckpt-5.index",
    "best/mine",
    "eval/mine",
    "plugins/profile/mine",
    "lock",
]


def contents(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_text() for path in files}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs_are_not_touched(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = contents(tmp_path)
    for restart in (False, True):
        with pytest.raises(InputError, match="may be another program's") as raised:
            RunDirectory(tmp_path).prepare(restart)
        assert str(Path(name).parts[0]) in str(raised.value)
        assert contents(tmp_path) == before


def test_a_symbolic_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text('{"host": "a", "pid": 1}')
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="lock in it is not a regular file"):
        RunDirectory(tmp_path / "run").prepare(restart=False)


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "flags.txt", "best"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    RunDirectory(tmp_path).prepare(restart=False)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} in it is not a "):
        RunDirectory(tmp_path).prepare(restart=False)


def test_a_run_in_a_subdirectory_of_another_is_refused(tmp_path: Path) -> None:
    RunDirectory(tmp_path).prepare(restart=False)
    for name in ("best", "eval/test"):
        with pytest.raises(InputError, match="belongs to the run in"):
            RunDirectory(tmp_path / name).prepare(restart=False)
    touch(tmp_path / "best/lock")  # as an older version allowed
    with pytest.raises(InputError, match="best in it is the directory of another run"):
        RunDirectory(tmp_path).prepare(restart=False)
    RunDirectory(tmp_path / "other").prepare(restart=False)


def test_a_directory_that_disappears_is_noticed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.prepare(restart=False)
    run.assert_in_place()
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(RunError, match=f"it is now {tmp_path}/moved/lock"):
        run.assert_in_place()
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(RunError, match="was removed"):
        run.assert_in_place()
    touch(tmp_path / "run/lock")
    with pytest.raises(RunError, match="was removed"):
        run.assert_in_place()


def test_partial_checkpoints_are_removed_and_whole_ones_stay(tmp_path: Path) -> None:
    RunDirectory(tmp_path).prepare(restart=False)
    data = ".data-00000-of-00001"
    partial = [f"model.ckpt-5{data}", ".model.ckpt-5.sha256", ".model.ckpt-5.index"]
    partial += [f"model.ckpt-6{data}", ".model.ckpt-6.index"]  # while it was deleted
    rewritten = [f".model.ckpt-7{data}.tempstate1"]
    whole = [f"model.ckpt-{step}{end}" for step in (4, 7) for end in (data, ".index")]
    damaged = [f"model.ckpt-8{data}"]  # whose index somebody has removed
    touch(*(tmp_path / name for name in (*partial, *rewritten, *whole, *damaged)))
    RunDirectory(tmp_path).prepare(restart=False)
    assert {path.name for path in tmp_path.iterdir()} == {*whole, *damaged, "lock"}


def test_an_archive_is_completed_after_a_kill(tmp_path: Path) -> None:
    RunDirectory(tmp_path).prepare(restart=False)
    touch(tmp_path / ".archiving/metrics.jsonl", tmp_path / "model.ckpt-5.index")
    RunDirectory(tmp_path).prepare(restart=False)
    (archive,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {p.name for p in archive.iterdir()} == {
        "metrics.jsonl",
        "model.ckpt-5.index",
    }


@pytest.mark.parametrize("code", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def flock(*_: object) -> None:
        raise OSError(getattr(errno, code), "no locks")

    warnings: list[str] = []
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(logging, "warning", lambda *words: warnings.append(words[0]))
    RunDirectory(tmp_path).prepare(restart=False)
    assert "has no locks" in warnings[0]


def test_a_restart_archives_the_files_of_a_run_and_no_others(tmp_path: Path) -> None:
    files = [
        "model.ckpt-5.index",
        "metrics.jsonl",
        "flags.txt",
        "events.out.tfevents.1.host.distmnist",
        "eval/test/events.out.tfevents.1.host.distmnist",
        "best/model.ckpt-5.index",
        "report.html",
        "plugins/profile/1/host.xplane.pb",
    ]
    others = ["mine.txt", "metrics.jsonl.bak", "model.ckpt-notes.txt"]
    others += ["flags.txt.old", "other/metrics.jsonl", "plugins/mine.txt"]
    others += ["events.out.tfevents.1.host"]
    RunDirectory(tmp_path).prepare(restart=False)
    touch(*(tmp_path / name for name in (*files, *others)))
    run = RunDirectory(tmp_path)
    run.prepare(restart=True)
    run.release()
    (archive,) = (path for path in tmp_path.iterdir() if path.name.startswith("20"))
    archived = {str(p.relative_to(archive)) for p in archive.rglob("*") if p.is_file()}
    assert archived == set(files)
    assert all((tmp_path / name).exists() for name in others)
    assert not any((tmp_path / name).exists() for name in files)


def test_event_files_are_those_of_the_run(tmp_path: Path) -> None:
    own = [
        tmp_path / "events.out.tfevents.1.distmnist",
        tmp_path / "eval/test/events.out.tfevents.2.distmnist",
    ]
    touch(tmp_path / "events.out.tfevents.1")  # of another program
    touch(*own, tmp_path / "other/events.out.tfevents.3")
    assert RunDirectory(tmp_path).event_files() == own
