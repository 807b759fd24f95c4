"""What several test modules share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from distmnist.distributed import process
from tests import launching

# Before any test module imports TensorFlow.
process.prepare_environment(local_rank=0, local_size=1)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a finished run of two workers on the digits."""
    directory = tmp_path_factory.mktemp("runs") / "digits"
    flags = "--dataset=digits --max_steps=60 --log_every=10 --eval_every=30"
    command = (*launching.MPIRUN, 2, *launching.TRAIN, *flags.split())
    launching.run((*command, f"--log_dir={directory}"))
    return directory


@pytest.fixture
def threads_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow runs in this process already: too late to choose its threads."""
    monkeypatch.setattr(
        "distmnist.distributed.process.configure_tensorflow", lambda *_: None
    )


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of the size that is its parameter, as mount(8) takes it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The directory of the real MNIST; skips where it is not."""
    default = Path(__file__).parents[2] / "shared/data/mnist"
    directory = Path(os.environ.get("DISTMNIST_TEST_MNIST", default))
    if not (directory / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"no MNIST in {directory}; DISTMNIST_TEST_MNIST may name it")
    return directory
