"""The page of the report: its text."""

from __future__ import annotations

import html.parser
import json
import math
import re
from pathlib import Path

import pytest

from distmnist.reporting import page
from distmnist.reporting.reader import RunRecord
from tests.reporting.records import evaluation, lines, numbers, record

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)> '\"&\u2028"
)


class _Elements(html.parser.HTMLParser):
    """Counts elements, and collects the text of scripts as a browser sees them."""

    def __init__(self, text: str):
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "script":
            self.scripts.append("")
            self._in_script = True

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def _write(directory: Path, *runs: RunRecord) -> str:
    page.write(runs, str(directory / "page.html"), None)
    return (directory / "page.html").read_text(encoding="utf-8")


def test_nothing_that_runs_contain_is_interpreted(tmp_path: Path) -> None:
    evaluated = evaluation(3, (8, 8, 1), HOSTILE)
    plain = _Elements(_write(tmp_path, record("a"), record("b")))
    runs = [
        record(HOSTILE + name, model=HOSTILE + name)._replace(
            start={"kind": "start", "host": HOSTILE + name}, evaluation=evaluated
        )
        for name in "ab"
    ]
    runs.append(record("c")._replace(evaluation=None, failure=HOSTILE))
    shown = _Elements(_write(tmp_path, *runs))
    assert shown.names.count("script") == plain.names.count("script") == 3
    assert set(shown.names) <= set(plain.names) | {"p"}
    assert "onerror" not in shown.attributes
    data = json.loads(shown.scripts[0])
    assert all("</script>" in name for name in data["legend"][:2])
    assert "<" not in shown.scripts[0]
    assert "\u2028" not in shown.scripts[0]


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    def bad(text: str) -> object:
        raise ValueError(text)

    for value in (math.nan, math.inf, -math.inf):
        diverged = lines(loss=value, gradient_norm=value)
        diverged[5] = {**diverged[5], "epoch": value, "time": value}
        text = _write(tmp_path, record("a")._replace(train=diverged))
        data = json.loads(_Elements(text).scripts[0], parse_constant=bad)
        assert set(data["charts"][0]["curves"]["0"]["y"]) == {None}


def test_file_names_need_not_be_utf8(tmp_path: Path) -> None:
    assert "run-?" in _write(tmp_path, record("run-\udcff"))


def test_a_page_loads_nothing(tmp_path: Path) -> None:
    text = _write(tmp_path, record("a"), record("b"))
    assert "default-src 'none'" in text
    for target in re.findall(r"\b(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", text):
        assert target.startswith("data:"), target
    assert not re.search(r"@import|url\(", text)


@pytest.mark.parametrize("num_classes", [2, 50, 200])
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 48, 3), (13,)])
def test_any_data_set_fits(
    tmp_path: Path, num_classes: int, shape: tuple[int, ...]
) -> None:
    evaluated = evaluation(num_classes, shape)
    run = record("a")._replace(evaluation=evaluated)
    text = _write(tmp_path, run)
    assert f"class {num_classes - 1}" in text
    assert len(text) < 500_000


def test_runs_of_different_problems_are_shown_side_by_side(tmp_path: Path) -> None:
    text = _write(tmp_path, record("a"), numbers("b"))
    assert ">Accuracy, test</th>" in text
    assert ">Mean absolute error, validation</th>" in text
    assert "mean absolute error 12,346" in text
    assert "Residuals" in text
    assert '<abbr title="best">' not in text.partition("Epochs")[0]
    assert "mistakes are shaded" in text
    png_dir = tmp_path / "png"
    page.write([numbers("b")], str(tmp_path / "page.html"), str(png_dir))
    names = {path.stem for path in png_dir.iterdir()}
    assert {"predictions-0", "residuals-0", "mean_absolute_error"} <= names
    assert "mistakes are shaded" not in (tmp_path / "page.html").read_text()


def test_twenty_runs_are_below_two_megabytes(tmp_path: Path) -> None:
    long = [record(f"runs/{i}")._replace(train=lines(2000)) for i in range(20)]
    assert len(_write(tmp_path, *long)) < 2_000_000


def test_empty_runs_are_shown(tmp_path: Path) -> None:
    empty = RunRecord("a", {}, [], {}, None, None, "no checkpoint")
    for runs in ([empty], [empty, record("b")]):
        assert "not evaluated: no checkpoint" in _write(tmp_path, *runs)
