"""The command that runs everything on GPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distmnist import Config
from tests.gpu import __main__ as program
from tests.gpu.test_gpu import GPUS


@pytest.mark.parametrize(("gpus", "runs"), [(1, 6), (4, 12)])
def test_trains_with_each_kind_of_kernels(gpus: int, runs: int) -> None:
    commands = program.commands("data", Path("out"), gpus)
    trained = [command for command in commands if "distmnist.train" in command]
    assert len(trained) == runs
    assert sum(command[0] == "mpirun" for command in trained) == (gpus > 1) * 6
    known = {field.name for field in dataclasses.fields(Config)}
    flags = {word[2:].partition("=")[0] for c in trained for word in c if "--" in word}
    assert flags <= known
    (report,) = (command for command in commands if "distmnist.report" in command)
    assert sum(word.startswith("--log_dir=") for word in report) == runs


@pytest.mark.skipif(GPUS, reason="there is a GPU")
def test_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 1
    assert "there is no GPU" in capsys.readouterr().out
