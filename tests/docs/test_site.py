"""README and docs against the code; the site and its links."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from distmnist import __main__ as programs
from tests.docs.pages import DOCS
from tests.launching import ROOT, run

README = (ROOT / "README.md").read_text()


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and MkDocs form them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            assert (ROOT / path).exists(), link
            assert not anchor or anchor in anchors(ROOT / path), link


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path)
    done = run(command, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1"})
    assert "WARNING" not in done.stderr
    for page in DOCS:
        name = Path(page).stem
        assert (tmp_path / ("" if name == "README" else name) / "index.html").exists()


def test_readme_and_first_page_list_every_page() -> None:
    for page in DOCS:
        name = Path(page).name
        if name != "README.md":
            assert f"({page})" in README
            assert f"]({name})" in (ROOT / "docs/README.md").read_text()


def test_each_guarantee_has_its_test() -> None:
    table = README[README.index("## What it guarantees") :].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    for row in rows:
        tests = re.findall(r"\[`(test_\w+)`\]\(([\w/.]+)\)", row.split("|")[3])
        assert tests, row
        for name, path in tests:
            assert f"def {name}(" in (ROOT / path).read_text()


def test_flags_page_is_generated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["distmnist", "--markdown"])
    programs.main()
    assert (ROOT / "docs/flags.md").read_text() == capsys.readouterr().out, (
        "run: python -m distmnist --markdown > docs/flags.md"
    )


def test_import_diagram_is_that_of_the_code(tmp_path: Path) -> None:
    drawn = tmp_path / "imports.svg"
    run((sys.executable, ROOT / "docs/images/imports.py", drawn), cwd=ROOT)
    assert content(drawn) == content(ROOT / "docs/images/imports.svg"), (
        "run: python docs/images/imports.py"
    )


def content(drawing: Path) -> list[str]:
    """Returns texts, boxes and arrows: Matplotlib's releases draw other letters."""
    parts = r'<!-- .*? -->|<g id="patch_\d+">.*?</g>'
    return re.findall(parts, drawing.read_text(), re.DOTALL)


def test_curves_are_drawn_from_runs(run_dir: Path, tmp_path: Path) -> None:
    script = shutil.copy(ROOT / "docs/images/curves.py", tmp_path)
    draw = runpy.run_path(str(script))["draw"]
    loss, accuracy = draw([str(run_dir), str(run_dir)]).axes
    assert [line.get_label() for line in accuracy.lines] == ["2 workers"] * 2
    assert 0 < accuracy.lines[0].get_ydata()[-1] <= 1
    assert loss.get_ylabel() == "cross-entropy (nats)"


def test_names_every_package_in_the_order_of_the_import_contract() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    table = page[: page.index("The imports as they are")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:\.py|/)`", row)]
    layers = runpy.run_path(str(ROOT / "docs/images/imports.py"))["layers"]()
    order = {name: index for index, line in enumerate(layers) for name in line}
    paths = [*ROOT.glob("distmnist/*.py"), *ROOT.glob("distmnist/*/__init__.py")]
    there = {p.parent.name if p.stem == "__init__" else p.stem for p in paths}
    assert there - {"distmnist", "__main__"} == set(named)
    assert [order[name] for name in named] == sorted(order[name] for name in named)
