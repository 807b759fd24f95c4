"""The README says what is there."""

from __future__ import annotations

import re
from pathlib import Path

from distmnist.config import Config
from tests.launching import ROOT

README = (ROOT / "README.md").read_text()


def test_names_every_flag_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `--(\w+)` \| (.*?) \|", README, re.MULTILINE))
    fields = Config.__dataclass_fields__
    assert rows.keys() == fields.keys() | {"fake_data"}
    for name, value in vars(Config()).items():
        if name == "mnist_mirrors":
            value = "three"
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))
        expected = "" if value is None else str(value)
        assert rows[name] in (expected, expected.lower())


def test_names_every_module() -> None:
    modules = {path.name for path in Path(ROOT, "distmnist").glob("*.py")}
    mapped = set(re.findall(r"`(\w+\.py)`", README))
    assert modules - {"__init__.py"} <= mapped
