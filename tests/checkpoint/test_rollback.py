"""Log rollback: what was logged up to the restored step stays, on both x axes."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from distmnist.checkpoint.rollback import roll_back
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.scalars import ScalarWriter


def _points(directory: RunDirectory) -> list[tuple[str, int]]:
    """Returns tag and step of each scalar in the event files."""
    return sorted(
        (value.tag, event.step)
        for path in directory.event_files()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    )


def _log(directory: RunDirectory) -> None:
    """Logs steps 10, 20 and 30, of 100 examples each, after 5 examples of others."""
    lines = [json.dumps({"step": step}) + "\n" for step in (10, 20, 30)]
    directory.metrics.write_text("".join(lines))
    for path in (directory.path, directory.evaluation("test")):
        writer = ScalarWriter(path)
        for step in (10, 20, 30):
            values = {"loss": 1.0, "gradient_norm": 1.0}
            writer.write(values, step, 5 + 100 * step, ("loss",))
        writer.file.close()


def test_drops_what_was_logged_later(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    assert len(_points(directory)) == 18
    roll_back(directory, Progress(20, 2005))
    expected = [("gradient_norm", 10), ("gradient_norm", 20), ("loss", 10)]
    expected += [("loss", 20), ("loss_vs_examples", 1005), ("loss_vs_examples", 2005)]
    assert _points(directory) == sorted(2 * expected)
    steps = [json.loads(line)["step"] for line in directory.metrics.open()]
    assert steps == [10, 20]


def test_drops_everything(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    roll_back(directory, Progress(-1, -1))
    assert directory.event_files() == []
    assert directory.metrics.read_text() == ""


def test_files_in_which_nothing_is_dropped_are_not_written(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    files = [directory.metrics, *directory.event_files()]
    before = [path.stat().st_ino for path in files]
    roll_back(directory, Progress(30, 3005))
    assert [path.stat().st_ino for path in files] == before


def test_a_record_that_is_cut_off_is_dropped(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    for path in (directory.metrics, *directory.event_files()):
        os.truncate(path, path.stat().st_size - 3)
    roll_back(directory, Progress(30, 3005))
    assert len(directory.metrics.read_text().splitlines()) == 2
    assert len(_points(directory)) == 16
    assert not list(tmp_path.rglob("*damaged*"))


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 16])
def test_a_record_that_claims_to_be_huge_is_cut_off(
    tmp_path: Path, length: int
) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    before = _points(directory)
    claim = length.to_bytes(8, "little")
    checksum = masked_crc32c(claim).to_bytes(4, "little")
    for path in directory.event_files():
        with path.open("ab") as file:
            file.write(claim + checksum + bytes(100))
    roll_back(directory, Progress(30, 3005))
    assert _points(directory) == before


def test_what_follows_a_damaged_length_is_kept_elsewhere(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    files = directory.event_files()
    for path in files:
        content = bytearray(path.read_bytes())
        content[5] ^= 0xFF  # of the first record
        path.write_bytes(content)
    contents = {path.read_bytes() for path in files}
    roll_back(directory, Progress(30, 3005))
    assert {path.read_bytes() for path in tmp_path.rglob("*damaged*")} == contents


def test_what_follows_a_damaged_record_is_kept_elsewhere(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    files = [directory.metrics, *directory.event_files()]
    contents = []
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        contents.append(bytes(content))
    lines = [b'{"step": 10}\n', b"damaged\n", b'{"step": 30}\n']
    directory.metrics.write_bytes(b"".join(lines))
    contents[0] = directory.metrics.read_bytes()
    roll_back(directory, Progress(30, 3005))
    assert directory.metrics.read_bytes() == lines[0] + lines[2]
    kept = {path.read_bytes() for path in tmp_path.rglob("*damaged*")}
    assert kept == set(contents)
    assert _points(directory)  # up to the damaged record


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    directory = RunDirectory(small_disk)
    _log(directory)
    with contextlib.suppress(OSError), (small_disk / "other").open("wb") as file:
        file.write(bytes(1 << 20))
    files = [directory.metrics, *directory.event_files()]
    before = [path.read_bytes() for path in files]
    with pytest.raises((OSError, tf.errors.OpError)):
        roll_back(directory, Progress(20, 2005))
    assert [path.read_bytes() for path in files] == before
    assert not directory.rewritten.exists()
