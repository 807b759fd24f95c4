"""What must not change when a run is continued."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from distmnist.checkpoint import identity
from distmnist.checkpoint.metadata import Data, Metadata
from distmnist.core.config import Config
from distmnist.core.errors import InputError

DATA = Data("digits", "here", "ab" * 32)


def check(theirs: dict[str, Any], **flags: Any) -> None:
    config = dataclasses.asdict(Config(**flags))
    mine = {"config": config, "dataset": fields_of(DATA)}
    identity.check("a/model.ckpt-1", mine, Metadata(1, 1, {**config, **theirs}, DATA))


def fields_of(data: Data) -> dict[str, str]:
    return {name: getattr(data, name) for name in ("name", "source", "fingerprint")}


def test_ends_of_schedules_are_compared_to_the_step() -> None:
    flags = {"lr_schedule": "cosine", "max_steps": 2_000_001}
    check({}, **flags)
    with pytest.raises(InputError, match="--lr_decay_steps=2000002 there, --lr_decay_"):
        check({"max_steps": 2_000_002}, **flags)
    check({"max_steps": 5}, max_steps=7)  # a constant rate has no end


@pytest.mark.parametrize("value", ["x", [1], {}, -1, float("nan")])
def test_a_strangers_schedule_is_one_line(value: object) -> None:
    with pytest.raises(InputError, match=r"a/model.ckpt-1: its configuration is") as c:
        check({"max_steps": value}, lr_schedule="cosine")
    assert "\n" not in str(c.value)
