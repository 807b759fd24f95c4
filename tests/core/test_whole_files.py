"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from distmnist.core.whole_files import WholeFiles, remove_leftovers, whole_file


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_has_its_name_only_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    path = tmp_path / "file.png"
    path.write_text("old")

    def fsync(descriptor: int) -> None:
        assert path.read_text() == "old"
        synced.append(os.pread(descriptor, 10, 0))

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_file(path) as hidden:
        assert hidden.suffix == ".png"  # by which libraries choose the format
        hidden.write_text("new")
    assert synced == [b"new"]
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.png"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["written", "synced"])
def test_nothing_is_left_of_one_that_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    when: str,
) -> None:
    def fail(*_: object) -> None:
        raise error(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_text("old")
    if when == "synced":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error), whole_file(tmp_path / "file") as hidden:
        hidden.write_text("new")
        if when == "written":
            fail()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("name", ["ä" * 127, "𝄞" * 30 + "." + "𝄞" * 30, "." * 255])
def test_all_names_are_possible(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as hidden:
        hidden.touch()
    assert names(tmp_path) == [name]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    kept = [".mine", "validation-00000.tfrecord", ".validation-00000.tfrecord.part"]
    for name in kept:
        (tmp_path / name).touch()
    writing = [
        whole_file(tmp_path / name)  # and is killed
        for name in ("validation-00000.tfrecord", "test-00000.tfrecord", "other.json")
    ]
    found = [context.__enter__() for context in writing]
    for path in found:
        path.touch()
    old = time.time() - 100
    os.utime(found[0], (old, old))
    remove_leftovers(tmp_path, "*.tfrecord", 50)
    assert [path.exists() for path in found] == [False, True, True]
    remove_leftovers(tmp_path, "*.tfrecord")
    assert names(tmp_path) == sorted([*kept, found[2].name])


@pytest.mark.parametrize("fails", [False, True])
def test_several_appear_together(tmp_path: Path, fails: bool) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link").symlink_to("a.txt")
    try:
        with WholeFiles() as files:
            files.path(tmp_path / "link").write_text("new")
            assert files.path(tmp_path / "a.txt").read_text() == "new"
            files.path(tmp_path / "b/c.txt").write_text("c")
            assert (tmp_path / "a.txt").read_text() == "old"
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert (tmp_path / "a.txt").read_text() == ("old" if fails else "new")
    assert names(tmp_path / "b") == ([] if fails else ["c.txt"])
    assert names(tmp_path) == ["a.txt", "b", "link"]
    assert (tmp_path / "link").is_symlink()


def test_a_directory_is_not_replaced_and_a_device_is_written_to() -> None:
    with WholeFiles() as files:
        with pytest.raises(IsADirectoryError):
            files.path(Path("/tmp"))
        assert files.path(Path("/dev/null")) == Path("/dev/null")
