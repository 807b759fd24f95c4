"""README and docs against the code."""

from __future__ import annotations

import re

import pytest

from distmnist import __main__ as programs
from tests.launching import ROOT

README = (ROOT / "README.md").read_text()


def test_flags_page_is_generated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["distmnist", "--markdown"])
    programs.main()
    assert (ROOT / "docs/flags.md").read_text() == capsys.readouterr().out, (
        "run: python -m distmnist --markdown > docs/flags.md"
    )
    assert "(docs/flags.md)" in README


def test_names_every_package_in_the_order_of_the_import_contract() -> None:
    table = README[README.index("## Where things are") : README.index("## Flags")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:\.py|/)`", row)]
    contract = (ROOT / "pyproject.toml").read_text().split("layers = [")[1]
    lines = re.findall(r'"([\w |()]+)"', contract.split("]")[0])
    layers = [re.findall(r"\w+", line) for line in lines]
    order = {name: index for index, line in enumerate(layers) for name in line}
    paths = [*ROOT.glob("distmnist/*.py"), *ROOT.glob("distmnist/*/__init__.py")]
    there = {p.parent.name if p.stem == "__init__" else p.stem for p in paths}
    assert there - {"distmnist", "__main__"} == set(named)
    assert [order[name] for name in named] == sorted(order[name] for name in named)
