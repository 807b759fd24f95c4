"""Ranks with different software do not train together."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TypeVar

import pytest

from distmnist import cli
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.distributed import software
from distmnist.distributed.cluster import Cluster
from tests.launching import MPIRUN, messages, run

T = TypeVar("T")

# Each rank has its own copy of a module.
PROGRAM = """
import os, sys
from distmnist import train
sys.path.insert(0, os.environ["OMPI_COMM_WORLD_RANK"])
train.main()
"""
MODULE = """
import keras
def network(config, spec):
    return keras.layers.Dense(spec.num_classes, activation={activation!r})
"""


class TwoRanks(Cluster):
    """A rank 1 that has a value of its own."""

    size = 2

    def __init__(self, other: dict[str, object]) -> None:
        self.other = other

    def allgather(self, value: T) -> list[T]:
        assert isinstance(value, dict)
        return [value, {**value, **self.other}]  # type: ignore[list-item]


PACKAGES = ("Python", "distmnist", "tensorflow", "keras", "numpy", "horovod")


@pytest.mark.parametrize(
    "name", ["the source of distmnist", *(f"the version of {p}" for p in PACKAGES)]
)
def test_each_difference_is_named(name: str) -> None:
    cluster = TwoRanks({name: "other"})
    with pytest.raises(InputError, match=f"^{name} differs .* other on rank 1; inst"):
        cli.assert_consistent(Config(), cluster)


def test_what_only_some_ranks_have_is_not_compared() -> None:
    TwoRanks({"the source of module plots": "1"}).assert_consistent(
        software.versions(), software.REMEDY
    )


def test_own_modules_are_compared_and_installed_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, directory in (("mine", ""), ("site", "x/site-packages")):
        path = tmp_path / directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1")
        module = types.ModuleType(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
    before = software.user_modules()
    assert "the source of module mine" in before
    assert "the source of module site" not in before
    assert not {f"the source of module {m}" for m in ("numpy", "distmnist")} & {*before}
    assert "the source of module site" in software.user_modules("site:network")
    (tmp_path / "mine.py").write_text("x = 2")
    after = software.user_modules()
    changed = [name for name in before if before[name] != after.get(name)]
    assert changed == ["the source of module mine"]


@pytest.mark.ranks
def test_ranks_with_different_code_are_refused(tmp_path: Path) -> None:
    for rank, activation in enumerate((None, "relu")):
        (tmp_path / str(rank)).mkdir()
        code = MODULE.format(activation=activation)
        (tmp_path / str(rank) / "own.py").write_text(code)
    (tmp_path / "program.py").write_text(PROGRAM)
    flags = ("--dataset=digits", "--model=own:network", "--max_steps=1")
    command = (*MPIRUN, 2, sys.executable, "program.py", *flags)
    (message,) = messages(run(command, 2, cwd=tmp_path).stderr)
    assert "the source of module own differs between ranks: " in message
