"""What is published: everything once, whatever happens in between."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist import Config
from distmnist.core.errors import InputError
from distmnist.core.flags import to_flags
from distmnist.core.run_directory import RunDirectory
from distmnist.core.trackers import check_installed
from distmnist.tracking.publisher import Publisher, describe_error
from distmnist.tracking.state import State
from distmnist.tracking.tracker import Description, Point


class Server:
    """A tracker that keeps what it is given, and fails when it is told to."""

    def __init__(self) -> None:
        self.descriptions: list[Description] = []
        self.points: list[tuple[str, int, float]] = []
        self.is_broken = False

    def __call__(self, description: Description, run: str) -> Server:
        assert run == ("1" if self.descriptions else "")
        self.descriptions.append(description)
        self.run, self.where = "1", "here"
        return self

    def log(self, points: Sequence[Point]) -> None:
        if self.is_broken:
            raise ConnectionError("no\nserver")
        assert [p.step for p in points] == sorted(p.step for p in points)
        for point in points:
            self.points += [(name, point.step, v) for name, v in point.values.items()]

    def end(self, finished: bool) -> None:
        pass


def line(kind: str, step: int, **values: Any) -> dict[str, Any]:
    train = {"epoch": 0.1, "gradient_norm": 1.0, "examples_per_sec": 5.0}
    more = {**train, "loss": 1 / (1 + step)} if kind == "train" else {}
    evaluated = {"split": "test", "num_examples": 3, "metrics": {"loss": step + 0.5}}
    more = evaluated if kind == "eval" else more
    return {"kind": kind, "step": step, "size": 1, "time": 1.0, **more, **values}


LINES = [
    line("start", 0, device="CPU"),
    *(
        line(k, step)
        for step in range(1, 30)
        for k in ("train", "eval")[: 1 + step % 2]
    ),
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 9), st.sampled_from("pbr")))
)
def test_each_value_is_published_once_in_the_order_of_steps(
    events: list[tuple[int, int, str]],
) -> None:
    server = Server()
    with tempfile.TemporaryDirectory() as path:
        directory = RunDirectory(path)
        directory.flags.write_text(to_flags(Config(hidden1=7)))
        written, reached = LINES[:1], 0
        for back, more, what in [*events, (0, len(LINES), "p")]:
            if what == "r":  # the run is resumed from an earlier step, by a new process
                kept = [n for n in written if n["step"] <= max(reached - back, 0)]
                written, reached = kept, max(reached - back, 0)
            later = [n for n in LINES if n["step"] > reached]
            written = [*written, *later[:more]]
            reached = max(n["step"] for n in written)
            if later[more:] and later[more]["step"] == reached:  # in the middle of one
                reached -= 1
            text = "".join(json.dumps(n) + "\n" for n in written)
            directory.metrics.write_text(text + '{"kind": "tr')
            server.is_broken = what == "b"
            with State(directory.tracker("mlflow")) as state:
                publisher = Publisher(directory, server, state)
                if server.is_broken:
                    try:
                        publisher.publish()
                    except ConnectionError as error:
                        assert describe_error(error) == "ConnectionError: no server"
                    continue
                publisher.publish()
    assert server.descriptions[0].config["hidden1"] == "7"
    assert server.descriptions[0].software == {"device": "CPU", "size": "1"}
    assert len(server.points) == len({(name, step) for name, step, _ in server.points})
    losses = [(step, v) for name, step, v in server.points if name == "train/loss"]
    assert losses == [(step, 1 / (1 + step)) for step in range(1, 30)]
    evaluated = [step for name, step, _ in server.points if name == "eval/test/loss"]
    assert evaluated == list(range(1, 30, 2))


def test_one_process_publishes_a_run_and_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tracker.mlflow.json"
    with State(path) as state:
        with pytest.raises(InputError, match="another process publishes this run"):
            State(path)
        state.run, state.steps = "a" * 50, {"train": 1}
        state.save()
        state.run = "b"
        state.save()  # shorter
    with State(path) as state:
        assert (state.run, state.steps) == ("b", {"train": 1})
    for content in ("{", '{"run": 1}', '{"steps": {"train": "x"}}', "\xff"):
        path.write_text(content)
        with pytest.raises(InputError, match="is damaged; remove it"):
            State(path)


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InputError, match=r'pip install "distmnist\[no_such\]"'):
        check_installed(["no_such"])
    with pytest.raises(InputError, match="must be a list of mlflow, wandb"):
        Config(trackers=("mlflow", "mlflow"))
