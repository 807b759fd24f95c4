"""The program that prepares data: continued after kills, and told apart."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from distmnist.core.errors import InputError
from distmnist.data.dataset import SPLITS
from distmnist.data.sources.prepared import open_prepared
from tests import launching
from tests.data.own_data import load, save_images
from tests.jobs import Job

PREPARE = (sys.executable, "-m", "distmnist.prepare")

# Of a preparation. `python -m tests.test_prepare KILLS` kills it as often as it says.
KILLS = 6
WRITING_SECONDS = 0.3  # about what six shards take


def prepare(*arguments: object, status: int = 0, cwd: Path | None = None) -> list[str]:
    """Runs the program; returns its lines on standard error, without their stamps."""
    done = launching.run((*PREPARE, *arguments), status, cwd=cwd, timeout=60)
    assert done.stdout == ""
    return [line.rpartition("] ")[2] for line in done.stderr.splitlines()]


def contents(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a directory, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def save_many(directory: Path, shards: int) -> Path:
    """Saves .npy files of so many shards of training examples, and returns them."""
    random_state = np.random.RandomState(0)
    directory.mkdir()
    count = shards * (16 << 20) // (1 << 18)
    for split, size in (("train", count), ("validation", 1), ("test", 1)):
        images = random_state.randint(0, 256, (size, 512, 512, 1)).astype(np.uint8)
        np.save(directory / f"x_{split}.npy", images)
        np.save(directory / f"y_{split}.npy", np.arange(size) % 2)
    return directory


def kill_again_and_again(directory: Path, kills: int, seed: int) -> int:
    """Kills a preparation at random moments of its writing, and continues it.

    Returns:
        How many kills left some shards, which the next attempt did not write again.

    Raises:
        AssertionError: what it writes in the end is not what it writes undisturbed.
    """
    source = save_many(directory / "source", shards=6)
    prepare(source, directory / "whole")
    whole, killed = contents(directory / "whole"), directory / "killed"
    command, chance, continued = (*PREPARE, source, killed), random.Random(seed), 0
    for _ in range(kills):
        with Job(command, directory) as job:
            job.wait_for((killed / ".journal").exists)
            time.sleep(chance.uniform(0, WRITING_SECONDS))
            os.kill(job.pid, signal.SIGKILL)
            job.end(30)
        if (killed / "prepared.json").exists():
            assert contents(killed) == whole
            shutil.rmtree(killed)
        else:
            continued += len(list(killed.glob("train-*"))) > 0
    prepare(source, killed)
    assert contents(killed) == whole
    return continued


@pytest.mark.timeout(180)
def test_a_killed_preparation_is_continued(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, KILLS, random.randrange(2**31))


def test_prepared_images_are_those_of_the_directory(tmp_path: Path) -> None:
    source = save_images(tmp_path / "images", "cat dog newt", count=20)
    (line,) = prepare(source, "prepared", cwd=tmp_path)
    assert line == (
        "prepared: 49 train, 5 validation, 6 test examples; give it as --dataset"
    )
    mine, theirs = open_prepared(tmp_path / "prepared"), load(source)
    assert mine.spec == theirs.spec
    for name in SPLITS:
        everything = np.arange(theirs.splits[name].size)
        for one, other in zip(
            mine.splits[name].take(everything), theirs.splits[name].take(everything)
        ):
            np.testing.assert_array_equal(one, other)
    before = contents(tmp_path / "prepared")
    assert prepare(source, "prepared", cwd=tmp_path) == ["prepared: prepared already"]
    assert prepare(source, "again", "--shuffle", cwd=tmp_path)
    shuffled = open_prepared(tmp_path / "again")
    everything = np.arange(49)
    features, others = (
        [bytes(image) for image in each.train.take(everything).features]
        for each in (shuffled, mine)
    )
    assert features != others
    assert sorted(features) == sorted(others)
    assert contents(tmp_path / "prepared") == before


def test_several_processes_write_what_one_writes(tmp_path: Path) -> None:
    source = save_images(tmp_path / "images", count=30, size=(512, 512, 3))
    prepare(source, tmp_path / "many")
    names = [path.name for path in (tmp_path / "many").iterdir()]
    assert len([name for name in names if name.startswith("train")]) > 2
    code = "import distmnist.prepare as p; p.cores.available = lambda: 1; p.main()"
    launching.run((sys.executable, "-c", code, source, tmp_path / "one"))
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_bad_images_are_named_and_left_out_if_asked(tmp_path: Path) -> None:
    source = save_images(tmp_path / "images", count=20)
    bad = source / "dog/07.png"
    bad.write_bytes(bad.read_bytes()[:80])
    (line,) = prepare(source, tmp_path / "strict", status=2)
    assert line.startswith(f"distmnist: {bad}: cannot be read")
    *skipped, last = prepare(source, tmp_path / "lenient", "--skip_bad")
    assert [line[: len(f"Skipped: {bad}")] for line in skipped] == [f"Skipped: {bad}"]
    assert "39 " not in last
    sizes = [s.size for s in open_prepared(tmp_path / "lenient").splits.values()]
    assert sum(sizes) == 39
    (line,) = prepare(source, tmp_path / "strict", "--skip_bad", status=2)
    assert "begun with other data or flags" in line


def test_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    source = save_images(tmp_path / "images")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/train-00000.tfrecord").write_text("mine")
    (line,) = prepare(source, tmp_path / "other", status=2)
    assert line.endswith("is not empty (train-00000.tfrecord); name another directory")
    assert (tmp_path / "other/train-00000.tfrecord").read_text() == "mine"
    prepare(source, tmp_path / "data")
    before = contents(tmp_path / "data")
    prepare(tmp_path / "data", tmp_path / "smaller", "--compression=zlib")
    again = open_prepared(tmp_path / "smaller")
    assert again.fingerprint == open_prepared(tmp_path / "data").fingerprint
    (line,) = prepare("digits", tmp_path / "data", status=2)
    assert "was prepared of other data, or with other flags" in line
    assert contents(tmp_path / "data") == before
    (line,) = prepare(source, tmp_path / "images/cat/00.png", status=1)
    assert "cannot be written (" in line


def test_an_incomplete_data_set_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(
        InputError, match=r"has no prepared\.json; prepare the data set"
    ):
        open_prepared(tmp_path / "data")


@pytest.mark.parametrize("small_disk", ["50m"], indirect=True)
def test_a_full_disk_is_told_and_the_rest_is_continued(
    tmp_path: Path, small_disk: Path
) -> None:
    source = save_many(tmp_path / "source", shards=2)
    (small_disk / "filler").write_bytes(bytes(25 << 20))
    (line,) = prepare(source, small_disk / "data", status=1)
    assert "cannot be written (No space left on device)" in line
    assert not list((small_disk / "data").glob(".train*"))
    (small_disk / "filler").unlink()
    prepare(source, small_disk / "data")
    prepare(source, tmp_path / "whole")
    assert contents(small_disk / "data") == contents(tmp_path / "whole")


SLOW_DISK = """
import os, time
from distmnist import open_prepared

def data():
    reads, read = 0, os.preadv

    def preadv(*arguments):
        nonlocal reads
        reads += 1
        if reads > 10_000 and os.environ["OMPI_COMM_WORLD_RANK"] == "1":
            time.sleep(1000)
        return read(*arguments)

    os.preadv = preadv
    return open_prepared("prepared")
"""


@pytest.mark.ranks
def test_storage_that_stalls_or_is_damaged_ends_the_job(tmp_path: Path) -> None:
    prepare("digits", "prepared", cwd=tmp_path)
    (tmp_path / "slow_disk.py").write_text(SLOW_DISK)
    job = (*launching.MPIRUN, 2, *launching.TRAIN, "--max_steps=100000")
    flags = ("--eval_every=0", "--stall_seconds=5", "--data_residency=stream")
    environment = {"PYTHONPATH": f"{launching.ROOT}{os.pathsep}{tmp_path}"}
    command = (*job, *flags, "--dataset=slow_disk:data", "--log_dir=stalled")
    done = launching.run(command, 1, cwd=tmp_path, env=environment)
    assert (
        "no progress for 5 s: rank 0 is training, rank 1 is waiting for examples to be "
        "read from prepared/train-00000.tfrecord (--stall_seconds): aborting the job"
    ) in done.stderr
    shard = tmp_path / "prepared/train-00000.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    command = (*job, *flags, "--dataset=prepared", "--log_dir=damaged")
    done = launching.run(command, 2, cwd=tmp_path)
    assert "prepared/train-00000.tfrecord: record 6" in done.stderr
    assert "is damaged; restore the data set" in done.stderr
    assert "Traceback" not in done.stderr


if __name__ == "__main__":
    import tempfile

    where = Path(tempfile.mkdtemp(prefix="prepare-"))
    print(kill_again_and_again(where, int(sys.argv[1]), random.randrange(2**31)))
