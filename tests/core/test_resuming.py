"""How a run is continued, as messages say it."""

from __future__ import annotations

import pytest

from distmnist.core import resuming


@pytest.mark.parametrize(
    ("restarted", "saved", "expected"),
    [
        (False, True, "start again with the same flags to continue"),
        (
            False,
            False,
            "start again with the same flags to continue from the newest checkpoint, "
            "if there is one",
        ),
        # With it, training would start from scratch once more.
        (
            True,
            True,
            "start again with the same flags, without --restart, to continue",
        ),
    ],
)
def test_messages_are_true(
    monkeypatch: pytest.MonkeyPatch, restarted: bool, saved: bool, expected: str
) -> None:
    monkeypatch.setattr(resuming, "restarted", restarted)
    assert resuming.how_to_continue(saved) == expected
