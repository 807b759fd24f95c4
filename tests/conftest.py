"""Fixtures of several test modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from distmnist.distributed import launchers, process
from tests import launching
from tests.launch.slurm import site as slurm_site

# Before any test module imports TensorFlow.
process.prepare_environment(launchers.single_process({}))

# The same examples in every run; a temporary directory may be shared by them.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of a completed run of two workers on the digits."""
    directory = tmp_path_factory.mktemp("runs") / "digits"
    flags = "--dataset=digits --max_steps=60 --log_every=10 --eval_every=30"
    command = (*launching.MPIRUN, 2, *launching.TRAIN, *flags.split())
    launching.run((*command, f"--log_dir={directory}"))
    return directory


@pytest.fixture
def threads_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the thread settings: TensorFlow is already initialized in this process."""
    monkeypatch.setattr(
        "distmnist.distributed.devices.configure_tensorflow", lambda *_: None
    )


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system whose size is the parameter, in the format of mount(8)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The directory of the MNIST files; skips the test if it is missing."""
    default = launching.ROOT.parent / "shared/data/mnist"
    directory = Path(os.environ.get("DISTMNIST_TEST_MNIST", default))
    if not (directory / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"no MNIST in {directory}; set DISTMNIST_TEST_MNIST to its path")
    return directory


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_site.Site]:
    """A Slurm site of two nodes; skips the test where there can be none."""
    if reason := slurm_site.missing():
        pytest.skip(reason)
    with slurm_site.Site(tmp_path_factory.mktemp("site")) as started:
        yield started
