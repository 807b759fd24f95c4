"""Hyperparameters: their types, and how they are written."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.hparams import HParams


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("3", 3), ("-2", -2), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True)),
        *(("False", False), ("relu", "relu"), ("a=b", "a=b"), ("", "")),
    ],
)
def test_words_become_typed_values(text: str, value: Any) -> None:
    (parsed,) = HParams.parse([f"x={text}"]).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("words", [["x"], ["=1"], ["2x=1"], ["x=1", "x=2"], ["a b=1"]])
def test_words_of_another_form_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(words[-1])):
        HParams.parse(words)


@pytest.mark.parametrize("values", [{"x": [1]}, {"x": None}, {"2x": 1}, {1: 1}, [1], 3])
def test_values_of_another_type_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="hparams"):
        Config(hparams=values)


def test_what_is_written_is_read_again() -> None:
    values = {"units": 3, "rate": 0.5, "flag": True, "name": "relu"}
    written = str(HParams(values))
    assert written == "units=3,rate=0.5,flag=true,name=relu"
    assert HParams.parse(written.split(",")) == values
    assert Config(hparams=json.loads(json.dumps(values))).hparams == values


def test_a_configuration_with_them_can_be_a_key() -> None:
    configs = {Config(hparams={"units": 3}), Config(hparams={"units": 3}), Config()}
    assert len(configs) == 2


def test_numpys_numbers_are_numbers() -> None:
    hparams = Config(hparams={"units": np.int64(3), "rate": np.float32(0.5)}).hparams
    assert [type(value) for value in hparams.values()] == [int, float]
