"""The design's invariants 1 to 5 and 7, on real ranks and on several problems."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import launching
from tests.problems import PROBLEMS

ALL = tuple(PROBLEMS)
LAUNCHES = {
    "mpirun-2": ((*launching.MPIRUN, 2), ALL),
    "mpirun-3": ((*launching.MPIRUN, 3), ALL),
    "mpirun-4": ((*launching.MPIRUN, 4), ("mlp",)),
    "horovodrun-2": ((*launching.HOROVODRUN, 2), ("mlp",)),
    "horovodrun-gloo-2": ((*launching.HOROVODRUN_GLOO, 2), ("colors", "sequences")),
    "horovodrun-gloo-2-others": (
        (*launching.HOROVODRUN_GLOO, 2),
        ("mlp", "cnn", "table"),
    ),
    "horovodrun-gloo-3": ((*launching.HOROVODRUN_GLOO, 3), ALL),
}
SLOW = ("mpirun-4", "horovodrun-gloo-2-others", "horovodrun-gloo-3")
CASES = [
    pytest.param(
        (launch, name),
        # The others cover Gloo (with statistics of batches, and with sparse gradients),
        # and three ranks.
        marks=[pytest.mark.slow] if launch in SLOW else [],
    )
    for launch, (_, names) in LAUNCHES.items()
    for name in names
]

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(300)]


class Launched:
    """The observations of one launch, for one problem."""

    def __init__(self, directory: Path, name: str):
        """Reads what rank 0 wrote to the directory."""
        self.problem = PROBLEMS[name]
        self.directory = directory
        self.observed: dict[str, Any] = json.loads(
            (directory / f"{name}.json").read_text()
        )
        self.size = len(self.observed["files"])
        with np.load(directory / f"{name}.npz") as arrays:
            self.variables = [arrays[name] for name in arrays.files]

    def stream(self, name: str) -> list[int]:
        """Returns the steps of all ranks, joined to one stream of examples."""
        return [
            example
            for step in zip(*self.observed[name])
            for batch in step
            for example in batch
        ]


class Launches:
    """Launches each job once, when it is first asked for."""

    def __init__(self, directory: Path):
        """Launches nothing yet."""
        self._directory = directory

    def one(self) -> Path:
        """Returns the directory of the job of one process."""
        return self._launch("one", (), ALL, "")

    def many(self, name: str) -> Path:
        """Returns the directory of a job of several ranks."""
        return self._launch(name, *LAUNCHES[name], str(self.one()))

    def _launch(
        self, name: str, launcher: tuple[object, ...], problems: Any, handover: str
    ) -> Path:
        directory = self._directory / name
        if not directory.exists():
            directory.mkdir()
            program = (sys.executable, "-m", "tests.rank_program", directory)
            done = launching.run(
                (*launcher, *program, handover, *problems), cwd=directory, timeout=280
            )
            (directory / "stdout").write_text(done.stdout)
            (directory / "stderr").write_text(done.stderr)
        return directory


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("launches"))


@pytest.fixture
def one(launches: Launches, case: tuple[str, str]) -> Launched:
    return Launched(launches.one(), case[1])


@pytest.fixture
def many(launches: Launches, case: tuple[str, str]) -> Launched:
    return Launched(launches.many(case[0]), case[1])


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case), scope="module")
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


def test_n_workers_are_one_worker(one: Launched, many: Launched) -> None:
    assert len(one.variables) == len(many.variables) > 0
    for expected, variable in zip(one.variables, many.variables):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)


def test_every_example_once_an_epoch(one: Launched, many: Launched) -> None:
    size = many.problem.num_examples
    # Of the third, the first examples were consumed by one rank, the others by many.
    for stream in (
        one.stream("examples"),
        many.stream("examples"),
        one.stream("handover") + many.stream("handover"),
    ):
        assert len(stream) >= 2 * size
        for epoch in (stream[:size], stream[size : 2 * size]):
            assert Counter(epoch) == Counter(range(size))
        assert stream[:size] != stream[size : 2 * size]


def test_a_resumed_run_is_the_uninterrupted_run(one: Launched, many: Launched) -> None:
    for launched in (one, many):
        uninterrupted, resumed = launched.observed["resumed"]
        assert resumed == uninterrupted


def test_variables_are_bit_identical_on_all_ranks(many: Launched) -> None:
    first, *others = many.observed["hashes"]
    assert len(set(first)) == many.problem.flags["max_steps"]  # a step changes them
    assert others == [first] * (many.size - 1)


def test_rank_0_alone_writes_and_prints(many: Launched) -> None:
    first, *others = many.observed["files"]
    assert others == [[]] * (many.size - 1)
    last_step = many.problem.flags["max_steps"]
    assert {Path(path).name for path in first} >= {
        "metrics.jsonl",
        "lock",
        f"model.ckpt-{last_step}.sha256",
        f"model.ckpt-{last_step}.index",
        f"model.ckpt-{last_step}.data-00000-of-00001",
    }
    stdout, stderr = (
        (many.directory / name).read_text() for name in ("stdout", "stderr")
    )
    tags = {line[: line.index(">") + 1] for line in stdout.splitlines() if line}
    assert tags <= {"[1,0]<stdout>", "[0]<stdout>"}
    assert f"Step {last_step}: loss" in stdout
    for rank in range(1, many.size):
        assert f"[1,{rank}]<std" not in stdout + stderr
        assert f"[{rank}]<std" not in stdout + stderr


def test_metrics_are_exact(one: Launched, many: Launched) -> None:
    for split, (metrics, num_correct) in one.observed["results"].items():
        same_metrics, same_correct = many.observed["results"][split]
        assert same_correct == num_correct
        assert same_metrics == pytest.approx(metrics, rel=1e-5)
    if num_correct is not None:
        train = one.observed["results"]["train"][1]
        assert 0 < train < many.problem.dataset_size
