"""Checkpoints: what is written is what is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distmnist import checkpoint, datasets, model
from distmnist.cluster import Cluster
from distmnist.config import Config
from distmnist.errors import InputError, RunError
from distmnist.periodic import Progress

DATASET = datasets.load("fake", "", (20, 10, 10), 0)


def saver(
    config: Config, dataset: datasets.Dataset = DATASET
) -> tuple[checkpoint.Saver, model.Parameters]:
    parameters = model.create_parameters(config.hidden1, config.hidden2, config.seed)
    return checkpoint.Saver(config, Cluster(), dataset, parameters), parameters


def small(directory: Path, **changes: object) -> Config:
    values = {"hidden1": 8, "hidden2": 4, "log_dir": str(directory), **changes}
    return Config(**values)  # type: ignore[arg-type]


def test_restores_what_was_saved_last(tmp_path: Path) -> None:
    save, saved = saver(small(tmp_path))
    assert save.restore() is None
    save(Progress(9, 900))
    saved[0].weights.assign_add(saved[0].weights)
    save(Progress(10, 1000))

    load, loaded = saver(small(tmp_path, learning_rate=0.2))
    loaded[2].biases.assign_add(loaded[2].biases + 1)
    progress = load.restore()
    assert progress is not None
    assert (progress.step, progress.consumed) == (10, 1000)
    for mine, theirs in zip(model.variables(loaded), model.variables(saved)):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_metadata_name_the_run(tmp_path: Path) -> None:
    save, _ = saver(small(tmp_path))
    save(Progress(10, 1000))
    metadata = checkpoint.read_metadata(str(tmp_path / "model.ckpt-10"))
    assert metadata["config"]["hidden1"] == 8
    assert metadata["dataset"]["fingerprint"] == DATASET.fingerprint
    assert (metadata["step"], metadata["consumed"], metadata["size"]) == (10, 1000, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden1": 16}, "--hidden1 is 8 there, 16 here"),
        ({"hidden2": 16}, "--hidden2 is 4 there, 16 here"),
        ({"seed": 1}, "--seed is 126 there, 1 here"),
    ],
)
def test_refuses_the_checkpoint_of_another_network(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    save, _ = saver(small(tmp_path))
    save(Progress(10, 1000))
    load, _ = saver(small(tmp_path, **changes))
    with pytest.raises(InputError, match=told):
        load.restore()


def test_refuses_the_checkpoint_of_another_data_set(tmp_path: Path) -> None:
    save, _ = saver(small(tmp_path))
    save(Progress(10, 1000))
    load, _ = saver(small(tmp_path), datasets.load("fake", "", (20, 10, 10), 1))
    with pytest.raises(InputError, match="data set's SHA-256"):
        load.restore()


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "deleted"])
def test_refuses_a_damaged_checkpoint(tmp_path: Path, suffix: str, damage: str) -> None:
    save, _ = saver(small(tmp_path))
    save(Progress(10, 1000))
    path = tmp_path / f"model.ckpt-10.{suffix}"
    if damage == "deleted":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2 if damage == "truncated" else 0)
    load, _ = saver(small(tmp_path))
    if (suffix, damage) == ("index", "deleted"):
        assert load.restore() is None  # without its index it is none
        return
    with pytest.raises(InputError, match=r"model\.ckpt-10 can't be read") as caught:
        load.restore()
    assert "\n" not in str(caught.value)


def test_restart_keeps_the_run_that_was_there(tmp_path: Path) -> None:
    save, _ = saver(small(tmp_path))
    save(Progress(10, 1000))
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("not the run's")
    again, _ = saver(small(tmp_path, restart=True, hidden1=16))
    assert again.restore() is None
    (aside,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {path.name for path in aside.iterdir()} == {
        "metrics.jsonl",
        "model.ckpt-10.index",
        "model.ckpt-10.data-00000-of-00001",
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.txt"]


def test_refuses_a_directory_that_it_cannot_write_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for directory in (file, file / "below"):
        with pytest.raises(InputError, match=r"--log_dir=.*can't be written to"):
            saver(small(directory))[0].restore()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_leaves_nothing_half_written(tiny_disk: Path) -> None:
    save, _ = saver(small(tiny_disk))
    save(Progress(9, 900))  # 26 kB
    before = {path.name for path in tiny_disk.iterdir()}
    (tiny_disk / "ballast").write_bytes(bytes(20_000))
    with pytest.raises(RunError, match=r"model\.ckpt-10: can't be written") as caught:
        save(Progress(10, 1000))
    assert caught.value.exit_status == 1
    assert {path.name for path in tiny_disk.iterdir()} == before | {"ballast"}
    assert checkpoint.latest(str(tiny_disk)) == str(tiny_disk / "model.ckpt-9")
