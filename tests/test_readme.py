"""The README says what is there."""

from __future__ import annotations

import re
from pathlib import Path

from distmnist.core.config import SUBJECTS, Config
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


def test_names_flags_by_subject() -> None:
    table = README[README.index("## Flags") : README.index("## Data")]
    order = re.findall(r"^\| (?:`--(\w+)`|\*\*(.+)\*\*) ", table, re.MULTILINE)
    expected = []
    for subject, names in SUBJECTS.items():
        expected += [("", subject), *((name, "") for name in names)]
    assert order == expected


def test_names_every_module_and_imports_point_down() -> None:
    rows = [row for row in README.splitlines() if row.startswith("| `")]
    order = [name for row in rows for name in re.findall(r"`(\w+)\.py`", row[:60])]
    paths = Path(ROOT, "distmnist").glob("*.py")
    sources = {path.stem: path.read_text() for path in paths}
    del sources["__init__"]
    assert sources.keys() == set(order)
    for module, source in sources.items():
        imported = re.findall(r"^ *from distmnist\.(\w+) import", source, re.MULTILINE)
        for names in re.findall(r"^ *from distmnist import (.*)", source, re.MULTILINE):
            imported.extend(re.findall(r"\w+", names.partition("#")[0]))
        for name in imported:
            assert order.index(name) > order.index(module), f"{module} imports {name}"
