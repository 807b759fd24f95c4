"""The page of the report in a real browser: readable at any size, and interactive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distmnist.reporting import curves, page
from tests.reporting.chromium import Chromium, find
from tests.reporting.records import evaluation, lines, numbers, record

SWEEP = "/data/experiments/2026-11-learning-rate-and-batch-size-sweep"
COUNTS = (1, 3, 8, 20)

# What a reader would complain about: a list of texts.
FAULTS = """(() => {
  const faults = [];
  const fault = (element, what) =>
    faults.push(`${element.outerHTML.slice(0, 99)}: ${what}`);
  const checkWidth = () => {
    const width = document.documentElement.scrollWidth;
    if (width > innerWidth) faults.push(`the page is ${width} px wide`);
  };
  checkWidth();

  // Blocks do not meet.
  const blocks = [...document.querySelectorAll(
    "header, .controls, figure, #results > *, #evaluation > *, footer")];
  const boxes = blocks.map((block) => block.getBoundingClientRect());
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
    if (a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 1 && b.top < a.bottom - 1) fault(blocks[i], "is covered");
  }));

  for (const element of document.querySelectorAll(".plot, figure, .controls"))
    if (element.scrollHeight > element.clientHeight + 1
        || element.scrollWidth > element.clientWidth + 1) fault(element, "is clipped");

  // A number is on one line.
  for (const text of document.querySelectorAll("td.number, .cards dd")) {
    const range = document.createRange();
    range.selectNodeContents(text);
    const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.bottom)));
    if (lines.size > 1) fault(text, "is broken");
  }

  // What is scrolled to is in the window, and nothing is above it.
  const details = [...document.querySelectorAll("details")];
  details.forEach((element) => { element.open = true; });
  checkWidth();
  const seen = "h1, h2, h3, summary, td, th, dd, dt, .legend label, select, .u-over";
  for (const element of document.querySelectorAll(seen)) {
    if (details.indexOf(element.closest("details")) > 4) continue; // like the others
    element.scrollIntoView({ block: "center", inline: "end" });
    const r = element.getBoundingClientRect();
    if (r.left < 0 || r.right > innerWidth + 1) fault(element, "is cut off");
    const top = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
    if (!top || !(element.contains(top) || top.contains(element)))
      fault(element, `is below ${top?.outerHTML.slice(0, 99)}`);
  }
  return faults;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    executable = find()
    if executable is None:
        pytest.skip("no Chromium on PATH")
    with Chromium(executable, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Reports on runs with long names, by the number of runs."""
    directory = tmp_path_factory.mktemp("pages")
    runs = [
        record(
            f"{SWEEP}/digits-mlp-learning_rate={rate}-hidden1=128-hidden2=32-seed={seed}",
            accuracy=0.9 + seed / 100,
            learning_rate=rate,
            seed=seed,
        )
        for rate in (0.01, 0.02, 0.05, 0.1)
        for seed in range(5)
    ]
    runs[1] = runs[1]._replace(evaluation=evaluation(200, (64, 64, 3), "a long name"))
    runs[2] = runs[2]._replace(evaluation=None, failure="the checkpoint is damaged")
    runs[3] = numbers(runs[3].name, 0.93, learning_rate=0.01, seed=3)
    files = {}
    for count in COUNTS:
        files[count] = directory / f"{count}.html"
        page.write(runs[:count], str(files[count]), None)
    return files


@pytest.mark.parametrize("width", [390, 768, 1280, 2560])
@pytest.mark.parametrize("count", COUNTS)
def test_is_readable_at_any_width(
    browser: Chromium, pages: dict[int, Path], count: int, width: int
) -> None:
    browser.open(pages[count], width, 900, "light")
    assert browser.evaluate(FAULTS) == []
    assert browser.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_color_scheme(
    browser: Chromium, pages: dict[int, Path], scheme: str, tmp_path: Path
) -> None:
    other = {"light": "dark", "dark": "light"}[scheme]
    browser.open(pages[3], 1280, 900, other)
    browser.prefer(scheme)  # redraws what is drawn
    browser.wait()
    browser.screenshot(tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert (pixels[0, 0] > 200).all() == (scheme == "light")
    palette = {"light": curves.LIGHT, "dark": curves.DARK}[scheme]
    for color in palette[:3]:
        expected = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == expected).all(axis=-1).sum() > 300, color


def _drawn(browser: Chromium) -> list[int]:
    """Returns the number of blue pixels of each chart: the first run's alone are."""
    browser.wait()
    pixels: list[int] = browser.evaluate(
        """[...document.querySelectorAll("figure canvas")].map((canvas) => {
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          let count = 0;
          for (let i = 0; i < data.length; i += 4)
            count += data[i + 3] > 99 && data[i + 2] - data[i] > 40;
          return count;
        })"""
    )
    return pixels


def test_runs_are_switched_in_all_charts(
    browser: Chromium, pages: dict[int, Path]
) -> None:
    browser.open(pages[3], 1280, 900, "light")
    drawn = _drawn(browser)
    assert len(drawn) == 9
    assert min(drawn) > 20
    browser.evaluate('document.querySelector(".legend input").focus()')
    browser.press(" ")
    assert _drawn(browser) == [0] * 9
    browser.press(" ")
    assert _drawn(browser) == drawn
    browser.evaluate("document.querySelector(\"[data-show='']\").click()")
    assert _drawn(browser) == [0] * 9


def test_values_are_shown_at_the_cursor(
    browser: Chromium, pages: dict[int, Path]
) -> None:
    browser.open(pages[8], 1280, 900, "light")
    browser.evaluate('document.querySelector(".curves").scrollIntoView()')
    left, top, width, height = browser.evaluate(
        """(({ left, top, width, height }) => [left, top, width, height])(
          document.querySelector(".u-over").getBoundingClientRect())"""
    )
    for shift in (0, 1):
        browser.move(left + width / 2 + shift, top + height / 2)
    browser.wait()
    readouts = browser.evaluate(
        '[...document.querySelectorAll(".readout")].map((line) => line.textContent)'
    )
    # Step 200 of 400 is epoch 10; its loss is 2.3 / 20, its gradient norm 1 / 20.
    for readout in readouts[0], *readouts[-2:]:
        assert " at 10 epochs: learning_rate=0.0" in readout
    values = browser.evaluate(
        '[...document.querySelectorAll(".legend output")].map((o) => o.textContent)'
    )
    assert [float(value) for value in values] == pytest.approx(
        [0.115 * (1 + seed / 100) for seed in (0, 1, 2, 3, 4, 0, 1, 2)], rel=1e-3
    )


@pytest.mark.parametrize(
    ("axis", "end"),
    [("epochs", 20), ("steps", 400), ("examples", 20000), ("seconds", 40)],
)
def test_the_x_axis_is_selectable(
    browser: Chromium, pages: dict[int, Path], axis: str, end: float
) -> None:
    browser.open(pages[3], 1280, 900, "light")
    browser.evaluate(
        f"""(() => {{
          const select = document.querySelector("select");
          select.value = "{axis}";
          select.dispatchEvent(new Event("change", {{ bubbles: true }}));
        }})()"""
    )
    browser.evaluate('document.querySelector(".u-over").scrollIntoView()')
    left, top, width = browser.evaluate(
        """(({ left, top, width }) => [left, top, width])(
          document.querySelector(".u-over").getBoundingClientRect())"""
    )
    for shift in (3, 2):
        browser.move(left + width - shift, top + 50)
    browser.wait()
    readout: Any = browser.evaluate('document.querySelector(".readout").textContent')
    assert f" at {end:,} {axis}: " in readout


def test_tables_are_readable_without_scripts(
    browser: Chromium, pages: dict[int, Path], tmp_path: Path
) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages[3], 390, 900, "dark")
        text = browser.evaluate("document.body.innerText")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert "The curves need JavaScript." in text
    assert "★ 0.9200" in text
    assert "x axis" not in text


def test_a_large_report_opens_in_seconds(browser: Chromium, tmp_path: Path) -> None:
    runs = [record(f"runs/{i}")._replace(train=lines(2000)) for i in range(20)]
    page.write(runs, str(tmp_path / "large.html"), None)
    start = time.monotonic()
    browser.open(tmp_path / "large.html", 1280, 900, "light")
    assert time.monotonic() - start < 5  # 1 on a quiet machine
