"""The model card."""

from __future__ import annotations

import dataclasses
from typing import Any

from distmnist.checkpoint import model_card
from distmnist.checkpoint.metadata import Data, Metadata
from distmnist.core.config import Config
from distmnist.data.spec import DatasetSpec

METRICS = {
    "train": {"loss": 0.25, "accuracy": 0.9},
    "test": {"loss": 0.5, "accuracy": 0.875, "f1": 0.8},
}


def card(
    spec: DatasetSpec, metrics: Any = METRICS, raw_weights: bool = False, **flags: Any
) -> str:
    config = dataclasses.asdict(Config(**flags))
    data = Data("pets", "/data/pets", "ab" * 32)
    metadata = Metadata(1500, 300000, config, data, size=2, spec=spec)
    software = {"distmnist": "1.2", "host": "secret"}
    return model_card.text(metadata, metrics, software, raw_weights)


def test_it_says_what_was_trained_on_what_how_and_how_well() -> None:
    spec = DatasetSpec((8, 8, 3), 2, ("cat", "dog"))
    text = card(spec, learning_rate=0.5, optimizer="lars", image_size=(8, 8))
    for expected in (
        "| network | mlp |",
        "| data set | pets: /data/pets |",
        f"| SHA-256 of the data | {'ab' * 32} |",
        "| classes | 2: cat, dog |",
        "| trained | 1,500 steps, 300,000 examples, on 2 workers |",
        "| distmnist | 1.2 |",
        "| split | loss | accuracy | f1 |",
        "| train | 0.25 | 0.9 |  |",
        "| test | 0.5 | 0.875 | 0.8 |",
        "    --learning_rate=0.5",
        "    --optimizer=lars",
        "    --image_size=8,8",
    ):
        assert expected in text.splitlines()
    assert text.count("    --") == 3
    assert "secret" not in text


def test_names_of_others_cannot_break_a_table() -> None:
    spec = DatasetSpec((4,), 2, ("a|b\n| c", "<script>"))
    text = card(spec, metrics={})
    assert "| classes | 2: a\\|b \\| c, &lt;script> |" in text
    assert "It was not evaluated at this step." in text


def test_numbers_have_no_classes() -> None:
    spec = DatasetSpec((4,), None, target_shape=(3,))
    assert "| targets | numbers [3] |" in card(spec)


def test_metrics_are_those_of_the_parameters_that_the_model_has() -> None:
    spec = DatasetSpec((4,), 2)
    averaged = card(spec, ema_decay=0.5)
    assert "| parameters | their moving average, 0.5 a step |" in averaged
    assert "0.875" in averaged
    raw = card(spec, ema_decay=0.5, raw_weights=True)
    assert "| parameters | of the last step, without their moving average |" in raw
    assert "not evaluated" in raw and "0.875" not in raw
    assert card(spec, raw_weights=True) == card(spec)
