"""The wheel, installed where there is no checkout, and the checks before a commit."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import distmnist
from tests import checkouts
from tests.launching import MPIRUN, ROOT, messages, run

# What pip alone does not install.
LEFT_OUT = ("distmnist", "__editable__", "horovod", "mpi4py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    checkouts.copy(directory / "checkout")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    command += ("--no-build-isolation", "--wheel-dir", directory, ".")
    run(command, cwd=directory / "checkout")
    (path,) = directory.glob("*.whl")
    return path


def use(environment: Path, directory: Path) -> None:
    """Runs the commands of an environment in a directory, as a user does."""
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "PYTHONPATH": ""}

    def out(command: str) -> str:
        return run(command.split(), cwd=directory, env=variables).stdout

    assert f"distmnist {distmnist.__version__}" in out("distmnist-train --version")
    assert "  train     Trains a network." in out("distmnist")
    training = "distmnist-train --dataset=digits --max_steps=100 --log_dir=logs"
    assert "Test Data Eval:" in out(training)
    assert "Precision @ 1" in out("distmnist-evaluate --log_dir=logs")
    out("distmnist-export --log_dir=logs --export_dir=exported/1")
    assert "class" in out(f"distmnist-predict --log_dir=logs {ROOT}/examples/digit.png")
    out("distmnist-report --log_dir=logs")
    assert "uPlot" in (directory / "logs/report.html").read_text()


def test_commands_work_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run((sys.executable, "-m", "venv", "--without-pip", environment))
    (site,) = environment.glob("lib/python*/site-packages")
    # The requirements, which take minutes to install, are those of this environment.
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(LEFT_OUT):
            (site / path.name).symlink_to(path)
    command = (sys.executable, "-m", "pip", "--python", environment, "install")
    run((*command, "--quiet", "--no-deps", wheel), env={"PYTHONPATH": ""})
    assert (
        "/environment/"
        in run(
            (environment / "bin/python", "-c", "import distmnist; print(distmnist)"),
            env={"PYTHONPATH": ""},
            cwd=tmp_path,
        ).stdout
    )
    use(environment, tmp_path)
    # What pip does not install is named where it is missing.
    train = environment / "bin/distmnist-train"
    done = run((*MPIRUN, 2, train), 2, cwd=tmp_path, env={"PYTHONPATH": ""})
    (message,) = messages(done.stderr)
    assert "requires Horovod and mpi4py" in message
    assert "run launch/setup.sh in a checkout" in message


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_installs_it_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run((sys.executable, "-m", "venv", environment))
    pip = (environment / "bin/python", "-m", "pip", "install", "--quiet")
    run((*pip, f"{wheel}[report]"), timeout=800, env={"PYTHONPATH": ""})
    use(environment, tmp_path)


def test_pre_commit_runs_the_checks_of_the_test_command() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    text = (ROOT / "launch/test.sh").read_text()
    checks = re.findall(r"^(.*) \|\| status=1$", text, re.MULTILINE)
    # Before a commit, ruff formats the files instead of checking them.
    assert hooks == [re.sub(r"( --check)?( \.)?$", "", check) for check in checks]


def test_submit_can_be_imported() -> None:
    command = (sys.executable, "-m", "launch.submit", "k8s", "--help")
    assert "Usage: launch/submit_k8s" in run(command, cwd=ROOT).stdout
