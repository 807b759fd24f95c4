"""Hooks: at which steps they run, and where the loop stops for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distmnist.core.hooks import Every, EveryOf, EveryStop, stops
from distmnist.core.progress import Progress


def ignore(progress: Progress) -> None:
    """Does nothing."""


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
def test_every_interval_and_after_the_last_step(
    interval: int, last_step: int, expected: list[int]
) -> None:
    hook = Every(interval, ignore)
    assert list(stops([hook], 0, last_step)) == expected
    assert [s for s in range(1, last_step + 1) if hook.is_due(s, last_step)] == expected


def test_the_multiples_of_any_interval() -> None:
    hook = EveryOf((4, 6, 0), ignore)
    assert list(stops([hook], 0, 13)) == [4, 6, 8, 12, 13]
    assert [s for s in range(1, 14) if hook.is_due(s, 13)] == [4, 6, 8, 12, 13]


def test_every_stop_asks_for_no_stop_of_its_own() -> None:
    hook = EveryStop(ignore)
    assert hook.next_step(3, 30) == 30
    assert all(hook.is_due(step, 30) for step in range(1, 31))


def test_the_loop_stops_for_the_first_of_all_hooks() -> None:
    hooks = [Every(4, ignore), EveryStop(ignore), Every(6, ignore)]
    assert list(stops(hooks, 0, 13)) == [4, 6, 8, 12, 13]
    assert list(stops(hooks, 6, 13)) == [8, 12, 13]
    assert list(stops(hooks, 13, 13)) == []


def test_a_hook_may_choose_its_next_step_when_it_runs() -> None:
    class Doubling:
        due = 1

        def next_step(self, step: int, last_step: int) -> int:
            return min(self.due, last_step)

        def is_due(self, step: int, last_step: int) -> bool:
            return step == self.due

        def __call__(self, progress: Progress) -> None:
            self.due *= 2

    hook, seen = Doubling(), []
    for step in stops([hook], 0, 20):
        seen.append(step)
        if hook.is_due(step, 20):
            hook(Progress(step, 0))
    assert seen == [1, 2, 4, 8, 16, 20]


@pytest.mark.parametrize(
    "make", [lambda f: Every(1, f), lambda f: EveryOf((2, 3), f), EveryStop]
)
def test_hooks_pass_the_progress_on(
    make: Callable[[Callable[[Progress], None]], Every | EveryOf | EveryStop],
) -> None:
    seen: list[Progress] = []
    make(seen.append)(Progress(3, 30))
    assert seen == [Progress(3, 30)]
