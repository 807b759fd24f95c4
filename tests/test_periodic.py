"""When things happen."""

from __future__ import annotations

import pytest

from distmnist.core.hooks import Every, EveryStop


@pytest.mark.parametrize(
    ("interval", "last_step", "expected"),
    [
        (10, 30, [10, 20, 30]),
        (10, 25, [10, 20, 25]),
        (0, 25, [25]),
        (100, 25, [25]),
        (1, 3, [1, 2, 3]),
    ],
)
def test_every_interval_and_at_the_end(
    interval: int, last_step: int, expected: list[int]
) -> None:
    task = Every(interval, lambda progress: None)
    walked, step = [], 0
    while step < last_step:
        step = task.next_step(step, last_step)
        walked.append(step)
    assert walked == expected
    assert [s for s in range(1, last_step + 1) if task.is_due(s, last_step)] == expected


def test_at_stops_that_others_make() -> None:
    task = EveryStop(lambda progress: None)
    assert task.next_step(3, 30) == 30
    assert all(task.is_due(step, 30) for step in range(1, 31))
