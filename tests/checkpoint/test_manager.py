"""Checkpoints: saved, verified, restored; nothing half written is ever used."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from distmnist.checkpoint import format, inference
from distmnist.checkpoint.manager import CheckpointManager
from distmnist.core import resuming
from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.data.dataset import Dataset
from distmnist.data.sources.mnist import SPEC
from distmnist.data.sources.synthetic import Synthetic
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.types import SplitResult
from distmnist.models.mlp import Mlp

SUFFIXES = (".data-00000-of-00001", ".index", ".sha256")
DATASET = Synthetic(Config(fake_sizes=(20, 10, 10), seed=0)).load()


def create(
    config: Config, dataset: Dataset = DATASET
) -> tuple[CheckpointManager, dict[str, tf.Variable]]:
    variables = Mlp(config, SPEC).named_variables
    return CheckpointManager(config, Cluster(), dataset, variables), variables


def small(directory: Path, **changes: object) -> Config:
    values = {"hidden1": 8, "hidden2": 4, "log_dir": str(directory), **changes}
    return Config(**values)  # type: ignore[arg-type]


def saved(directory: Path, *steps: int) -> dict[str, tf.Variable]:
    """Saves a run at several steps, doubling its variables after each."""
    manager, variables = create(small(directory))
    with manager:
        for step in steps:
            manager.save(Progress(step, 100 * step))
            for variable in variables.values():
                variable.assign_add(variable)
    return variables


def restored(directory: Path, **changes: object) -> Progress | None:
    """Restores a run, and releases its directory."""
    manager, _ = create(small(directory, **changes))
    with manager:
        return manager.restore()


def test_restores_the_newest_checkpoint(tmp_path: Path) -> None:
    assert restored(tmp_path) is None
    twice_as_large = saved(tmp_path, 9, 10)
    manager, loaded = create(small(tmp_path, learning_rate=0.2))
    with manager:
        progress = manager.restore()
    assert progress is not None
    assert (progress.step, progress.consumed) == (10, 1000)
    for mine, theirs in zip(flat(loaded), flat(twice_as_large)):
        np.testing.assert_array_equal(2 * mine, theirs)


def flat(variables: dict[str, tf.Variable]) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables.values()]


def test_the_working_directory_may_be_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(Path("."), 10)
    assert names(tmp_path) == {"model.ckpt-10"}
    progress = restored(Path("."))
    assert progress and progress.step == 10


def test_metadata_describe_the_run(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    metadata = format.Checkpoint(str(tmp_path / "model.ckpt-10")).metadata
    assert metadata.config["hidden1"] == 8
    assert metadata.dataset.fingerprint == DATASET.fingerprint
    assert (metadata.step, metadata.consumed, metadata.size) == (10, 1000, 1)


def test_other_tools_can_read_it(tmp_path: Path) -> None:
    variables = saved(tmp_path, 10)
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt-10"))
    np.testing.assert_array_equal(
        2 * reader.get_tensor("hidden1/weights"), variables["hidden1/weights"]
    )
    subprocess.run(
        ["sha256sum", "-c", "model.ckpt-10.sha256"], cwd=tmp_path, check=True
    )


def precision(correct: int) -> SplitResult:
    return SplitResult(10, {"loss": 1.0, "accuracy": correct / 10}, None)


def test_prunes_all_but_the_newest_and_the_best(tmp_path: Path) -> None:
    manager, _ = create(small(tmp_path, keep_checkpoints=2))
    with manager:
        manager.restore()
        for step, correct in ((1, 5), (2, 7), (3, 6), (4, 7)):
            manager.save_best(Progress(step, step), precision(correct))
            manager.save(Progress(step, step))
    assert names(tmp_path) == {"model.ckpt-3", "model.ckpt-4"}
    assert names(tmp_path / "best") == {"model.ckpt-2"}
    # A resumed run still knows the best.
    manager, _ = create(small(tmp_path))
    with manager:
        manager.restore()
        manager.save_best(Progress(5, 5), precision(7))
    assert names(tmp_path / "best") == {"model.ckpt-2"}


def names(directory: Path) -> set[str]:
    """Returns the checkpoints of a directory, each with its three files."""
    files = sorted(path.name for path in directory.glob("*model.ckpt-*"))
    stems = {name.partition(".data")[0] for name in files if ".data" in name}
    assert files == sorted(stem + s for stem in stems for s in SUFFIXES)
    return stems


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "cnn"}, "--model is mlp there, cnn here"),
        ({"momentum": 0.9}, "--momentum is 0.0 there, 0.9 here"),
        ({"hidden1": 16}, "--hidden1 is 8 there, 16 here"),
        ({"hidden2": 16}, "--hidden2 is 4 there, 16 here"),
        ({"seed": 1}, "--seed is 0 there, 1 here"),
    ],
)
def test_refuses_a_checkpoint_of_another_configuration(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    saved(tmp_path, 10)
    with pytest.raises(InputError, match=message):
        restored(tmp_path, **changes)


def test_refuses_a_checkpoint_of_another_data_set(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    manager, _ = create(
        small(tmp_path), Synthetic(Config(fake_sizes=(20, 10, 10), seed=1)).load()
    )
    with pytest.raises(
        InputError, match=r"the data set is fake \(SHA-256 .*\) there, fake \("
    ):
        manager.restore()


@pytest.mark.parametrize(
    ("damage", "suffix"),
    [
        (damage, suffix)
        for damage in ("truncated", "emptied", "deleted", "flipped")
        for suffix in SUFFIXES
        if (damage, suffix) != ("deleted", ".index")
    ],
)
def test_uses_the_checkpoint_before_a_damaged_one(
    tmp_path: Path, suffix: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 9, 10)
    inflict(damage, tmp_path / f"model.ckpt-10{suffix}")
    progress = restored(tmp_path)
    assert progress and progress.step == 9
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "model.ckpt-10 is damaged (" in warning
    assert "using " in warning and warning.endswith("model.ckpt-9")
    assert "\n" not in warning

    inflict(damage, tmp_path / f"model.ckpt-9{suffix}")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"model\.ckpt-9 is damaged") as caught:
        restored(tmp_path)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_incomplete_checkpoints_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 9, 10)
    for step in (10, 9):  # as a kill leaves them
        (tmp_path / f"model.ckpt-{step}.index").unlink()
        progress = restored(tmp_path)
        assert (progress and progress.step) == (9 if step == 10 else None)
        assert f"model.ckpt-{step} is incomplete, and ignored" in caplog.text
        caplog.clear()
    with pytest.raises(InputError, match="contains no checkpoint"):
        inference.find(str(tmp_path), Cluster())


def inflict(damage: str, path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "deleted":
        path.unlink()
    elif damage == "flipped":
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    else:
        path.write_bytes(content[:middle] if damage == "truncated" else b"")


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name != "lock"
    }


def test_leftovers_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    saved(tmp_path, 9)
    (tmp_path / ".model.ckpt-10.index").write_text("half")
    (tmp_path / ".model.ckpt-10.data-00000-of-00001").write_text("half")
    progress = restored(tmp_path)
    assert progress and progress.step == 9
    assert names(tmp_path) == {"model.ckpt-9"}


def test_does_not_save_values_that_are_not_finite(tmp_path: Path) -> None:
    manager, variables = create(small(tmp_path))
    with (
        manager,
        pytest.raises(RunError, match="biases is no longer finite at step 10"),
    ):
        manager.restore()
        manager.save(Progress(9, 900))
        biases = variables["hidden1/biases"]
        biases.assign(biases / 0)
        manager.save(Progress(10, 1000))
    assert names(tmp_path) == {"model.ckpt-9"}


def test_training_continues_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_continue = format.write, threading.Event()

    def slow(*args: Any) -> None:
        assert may_continue.wait(60)
        write(*args)

    monkeypatch.setattr(format, "write", slow)
    manager, variables = create(small(tmp_path))
    before = flat(variables)
    with manager:
        manager.restore()
        manager.save(Progress(9, 900))  # returns before anything is written
        assert names(tmp_path) == set()
        weights = variables["hidden1/weights"]
        weights.assign_add(weights)
        may_continue.set()
    manager, loaded = create(small(tmp_path))
    with manager:
        manager.restore()
    for mine, theirs in zip(flat(loaded), before):
        np.testing.assert_array_equal(mine, theirs)


def test_large_variables_are_written_at_once_and_published_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, may_continue = format.publish, threading.Event()

    def slow(path: str) -> None:
        assert may_continue.wait(60)
        publish(path)

    monkeypatch.setattr(format, "publish", slow)
    monkeypatch.setattr("distmnist.checkpoint.manager._LARGE", 100)
    manager, variables = create(small(tmp_path))
    before = flat(variables)
    with manager:
        manager.restore()
        manager.save(Progress(9, 900))
        manager.save_best(Progress(9, 900), precision(5))  # does not wait for the first
        assert not list(tmp_path.rglob("model.ckpt-9.*"))
        written = tmp_path / ".model.ckpt-9.data-00000-of-00001"
        assert written.stat().st_size > sum(array.nbytes for array in before)
        weights = variables["hidden1/weights"]
        weights.assign_add(weights)
        may_continue.set()
    assert names(tmp_path) == names(tmp_path / "best") == {"model.ckpt-9"}
    manager, loaded = create(small(tmp_path))
    with manager:
        manager.restore()
    for mine, theirs in zip(flat(loaded), before):
        np.testing.assert_array_equal(mine, theirs)


def test_a_large_checkpoint_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distmnist.checkpoint.manager._LARGE", 100)
    manager, _ = create(small(tmp_path))
    with manager:
        manager.restore()
        (tmp_path / ".model.ckpt-9.index").mkdir()  # in the way
        with pytest.raises(RunError, match=r"model\.ckpt-9: cannot be written"):
            manager.save(Progress(9, 900))
    assert [path.name for path in tmp_path.glob("*ckpt*")] == [".model.ckpt-9.index"]


def test_restart_archives_the_existing_run(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "mine.txt").write_text("not of the run")
    assert restored(tmp_path, restart=True, hidden1=16) is None
    assert "without --restart" in resuming.how_to_continue()
    (archive,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {path.name for path in archive.iterdir()} == {
        "metrics.jsonl",
        *(f"model.ckpt-10{suffix}" for suffix in SUFFIXES),
    }
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "mine.txt",
        "lock",
    }
    assert restored(tmp_path, hidden1=16) is None
    assert "without --restart" not in resuming.how_to_continue()


def test_refuses_a_directory_that_it_cannot_write_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for directory in (file, file / "below"):
        with pytest.raises(InputError, match=r"--log_dir=.*cannot be written to"):
            restored(directory)


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    saved(small_disk, 9)  # 26 kB
    before = contents(small_disk)
    (small_disk / "ballast").write_bytes(bytes(20_000))
    with pytest.raises(RunError, match=r"model\.ckpt-10: cannot be written") as caught:
        saved(small_disk, 10)
    assert caught.value.exit_status == 1
    (small_disk / "ballast").unlink()
    assert contents(small_disk) == before
    found = format.latest(RunDirectory(small_disk))
    assert found and found.path == str(small_disk / "model.ckpt-9")
    found.close()


@pytest.mark.parametrize("name", ["a[b] c", "x\\y", "q*?{z}", "ünïcode"])
def test_a_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    twice_as_large = saved(tmp_path / name, 10)
    manager, loaded = create(small(tmp_path / name))
    with manager:
        assert manager.restore() is not None
    for mine, theirs in zip(flat(loaded), flat(twice_as_large)):
        np.testing.assert_array_equal(2 * mine, theirs)
    shapes = format.Checkpoint(str(tmp_path / name / "model.ckpt-10")).shapes
    assert shapes["hidden1/weights"] == [SPEC.num_features, 8]


@pytest.mark.parametrize("kept", ["metrics.jsonl", "best/model.ckpt-5.index"])
def test_a_run_without_checkpoints_is_archived_and_not_emptied(
    tmp_path: Path, kept: str
) -> None:
    assert restored(tmp_path) is None
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    (tmp_path / kept).write_text('{"kind": "train", "step": 5}\n')
    assert restored(tmp_path) is None
    (archive,) = tmp_path.glob("20*")
    assert (archive / kept).read_text() == '{"kind": "train", "step": 5}\n'
    assert {path.name for path in tmp_path.iterdir()} == {"lock", archive.name}


def test_a_run_that_has_only_started_is_not_archived(tmp_path: Path) -> None:
    assert restored(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"kind": "start", "step": 0}\n')
    assert restored(tmp_path) is None
    assert not list(tmp_path.glob("20*"))


def test_what_a_killed_process_did_not_prune_is_pruned(tmp_path: Path) -> None:
    saved(tmp_path, 7, 8, 9)
    assert restored(tmp_path, keep_checkpoints=2)
    assert names(tmp_path) == {"model.ckpt-8", "model.ckpt-9"}


def test_an_older_best_that_a_killed_process_did_not_prune_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, _ = create(small(tmp_path))
    monkeypatch.setattr("distmnist.checkpoint.manager._prune", lambda *_: None)
    with manager:
        manager.restore()
        manager.save(Progress(8, 8))
        for step in (7, 8):
            manager.save_best(Progress(step, step), precision(step))
    monkeypatch.undo()
    assert restored(tmp_path)
    assert names(tmp_path / "best") == {"model.ckpt-8"}


def test_old_checkpoints_that_cannot_be_deleted_do_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(format, "delete", delete)
    manager, _ = create(small(tmp_path, keep_checkpoints=1))
    with manager:
        manager.restore()
        for step in (1, 2):
            manager.save(Progress(step, step))
    assert names(tmp_path) == {"model.ckpt-1", "model.ckpt-2"}


def test_nothing_is_saved_where_the_run_directory_was(tmp_path: Path) -> None:
    manager, _ = create(small(tmp_path / "run"))
    with pytest.raises(RunError, match=f"it is now {tmp_path}/moved/lock"), manager:
        manager.restore()
        manager.save(Progress(1, 1))
        manager.wait()
        (tmp_path / "run").rename(tmp_path / "moved")
        manager.save(Progress(2, 2))
    assert not (tmp_path / "run").exists()
    assert names(tmp_path / "moved") == {"model.ckpt-1"}


def test_a_run_directory_that_is_moved_during_a_save_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = format.write

    def write_and_move(*arguments: Any) -> None:
        write(*arguments)
        (tmp_path / "run").rename(tmp_path / "moved")

    monkeypatch.setattr(format, "write", write_and_move)
    manager, _ = create(small(tmp_path / "run"))
    with pytest.raises(RunError, match=f"it is now {tmp_path}/moved/lock"), manager:
        manager.restore()
        manager.save(Progress(1, 1))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_a_directory_that_cannot_be_synced_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "cannot be synced")

    warnings: list[str] = []
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(logging, "warning", lambda *words: warnings.append(words[0]))
    saved(tmp_path, 9, 10)
    assert names(tmp_path) == {"model.ckpt-9", "model.ckpt-10"}
    assert len(warnings) == 1 and "loses power" in warnings[0]


def test_a_checkpoint_that_is_deleted_is_never_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 9)
    killed_at: list[Path] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        killed_at.append(path)
        raise InterruptedError

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(InterruptedError):
        format.delete(str(tmp_path / "model.ckpt-9"))
    monkeypatch.undo()
    assert killed_at
    assert restored(tmp_path) is None
    assert names(tmp_path) == set()
