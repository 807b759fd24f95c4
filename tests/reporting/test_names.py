"""Short names of runs."""

from __future__ import annotations

import pytest

from distmnist.reporting.names import shorten


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["logs/a-b"], ["a-b"]),
        (["logs/1", "logs/2", "logs/10"], ["1", "2", "10"]),
        # A part is never cut in the middle.
        (["x/seed=10", "x/seed=11"], ["seed=10", "seed=11"]),
        (
            ["w/mlp-rate=0.1-seed=0", "w/cnn-rate=0.1-seed=1"],
            ["mlp-…seed=0", "cnn-…seed=1"],
        ),
        # Neither is a name that is the start of another one.
        (["logs", "logs/old"], ["logs", "logs/old"]),
        (["logs/a", "logs/a/b"], ["a", "a/b"]),
        (["logs", "logs"], ["logs (1)", "logs (2)"]),
        (["", ""], [" (1)", " (2)"]),
    ],
)
def test_what_names_have_in_common_is_cut(
    names: list[str], expected: list[str]
) -> None:
    assert shorten(names) == expected
