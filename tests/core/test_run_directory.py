"""The run directory: names, the lock, leftovers, the archive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distmnist.core.errors import InputError
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
    touch(*own, *others)
    run = RunDirectory(tmp_path)
    run.prepare(restart=False)
    run.release()
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)


def test_the_lock_is_exclusive_and_ends_with_its_process(tmp_path: Path) -> None:
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
        process.kill()
    run = RunDirectory(tmp_path)
    run.prepare(restart=False)
    run.release()
    RunDirectory(tmp_path).prepare(restart=False)


@pytest.mark.parametrize("content", ["", "null", "[1]", '{"pid": 1}', "not JSON"])
def test_an_unreadable_lock_file_names_no_process(tmp_path: Path, content: str) -> None:
    run = RunDirectory(tmp_path)
    run.prepare(restart=False)
    (tmp_path / "lock").write_text(content)
    with pytest.raises(InputError, match="in use by another process"):
        RunDirectory(tmp_path).prepare(restart=False)
    run.release()


def test_a_restart_archives_the_files_of_a_run_and_no_others(tmp_path: Path) -> None:
    files = [
        "model.ckpt-5.index",
        "metrics.jsonl",
        "flags.txt",
        "events.out.tfevents.1.host",
        "eval/test/events.out.tfevents.1.host",
        "best/model.ckpt-5.index",
        "report.html",
        "plugins/profile/1/host.xplane.pb",
    ]
    others = ["mine.txt", "metrics.jsonl.bak", "model.ckpt-notes.txt"]
    others += ["flags.txt.old", "other/metrics.jsonl", "plugins/mine.txt"]
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
        tmp_path / "events.out.tfevents.1",
        tmp_path / "eval/test/events.out.tfevents.2",
    ]
    touch(*own, tmp_path / "other/events.out.tfevents.3")
    assert RunDirectory(tmp_path).event_files() == own
