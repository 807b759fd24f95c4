"""Every command of README and docs, in order, with and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests import checkouts
from tests.docs import internet, pages
from tests.launching import ROOT, environment, run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, without logs and data, whose .venv is up to date."""
    setup = (ROOT / "launch/setup.sh", "--dry-run")
    if "Nothing to do" not in run(setup).stdout:
        pytest.skip("launch/setup.sh has not been run in this checkout")
    copy = tmp_path / "distmnist"
    checkouts.copy(copy)
    # The environment itself is shared; its state names the checkout.
    (copy / ".venv").mkdir()
    for path in (ROOT / ".venv").iterdir():
        (copy / ".venv" / path.name).symlink_to(path)
    state = copy / ".venv/.distmnist"
    text = state.read_text()
    state.unlink()
    state.write_text(text.replace(f"\n{ROOT}\n", f"\n{copy}\n"))
    return copy


Network = tuple[Sequence[str], Mapping[str, str]]
"""A command prefix, and environment variables."""


@pytest.fixture
def offline() -> Network:
    """No network but the loopback interface."""
    isolated = ("unshare", "--map-root-user", "--net")
    isolated += ("bash", "-c", 'ip link set lo up && exec "$@"', "bash")
    if subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("network namespaces cannot be created here")
    return isolated, {}


@pytest.fixture
def online(mnist_dir: Path, tmp_path: Path) -> Iterator[Network]:
    """A network that has the mirrors of MNIST."""
    with internet.serve(mnist_dir, tmp_path) as variables:
        yield (), variables


def follow(page: str, checkout: Path, network: Network, path: str) -> str:
    """Runs the commands of a page, and returns what they print."""
    prefix, variables = network
    done = run(
        (*prefix, "bash", "-c", pages.script(page)),
        cwd=checkout,
        timeout=580,
        env={"PYTHONPATH": "", "PATH": path, **variables},
    )
    return done.stdout + done.stderr


def follow_readme(checkout: Path, network: Network) -> str:
    """Runs the commands of README.md in a shell without the environment active."""
    path = os.environ["PATH"].replace(f"{ROOT}/.venv/bin:", "")
    return follow("README.md", checkout, network, path)


PAGES = [page for page in (*pages.DOCS, "CONTRIBUTING.md") if pages.commands(page)]


@pytest.mark.slow  # the docs are followed offline
@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_readme_offline(checkout: Path, offline: Network) -> None:
    assert "THIS IS NOT MNIST" in follow_readme(checkout, offline)


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_readme_online(checkout: Path, online: Network) -> None:
    printed = follow_readme(checkout, online)
    assert "Num examples: 55000" in printed
    assert "THIS IS NOT MNIST" not in printed


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.ranks if pages.launches(page) else ())
        for page in PAGES
    ],
)
@pytest.mark.timeout(600)
def test_docs_offline(page: str, checkout: Path, offline: Network) -> None:
    follow(page, checkout, offline, environment()["PATH"])


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.timeout(1200)
def test_readme_again_and_docs_online(checkout: Path, online: Network) -> None:
    follow_readme(checkout, online)
    shutil.rmtree(checkout / "exported")  # exporting to the same directory is refused
    assert follow_readme(checkout, online).count("Nothing left to train") >= 4
    for page in PAGES:
        follow(page, checkout, online, environment()["PATH"])


@pytest.mark.parametrize("page", pages.PAGES)
def test_what_is_not_run_has_a_reason(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text.count("```") == 2 * len(pages.blocks(page))
    for block in pages.blocks(page):
        if block.mark and not block.mark.startswith("server: http"):
            assert block.kind == "bash"
            assert block.mark.startswith("not tested: "), block.mark
