"""The report: its content, and its rendering in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.launching import messages, run

REPORT = (sys.executable, "-m", "distmnist.report")
HEADLESS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--hide-scrollbars"),
)


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a run, and on a copy of it without checkpoints."""
    directory = tmp_path_factory.mktemp("report")
    other = directory / "other"
    shutil.copytree(run_dir, other)
    for checkpoint in other.glob("model.ckpt-*"):
        checkpoint.unlink()
    flags = (f"--compare={other}", f"--png_dir={directory / 'png'}")
    output = directory / "made" / "page.html"
    done = run((*REPORT, f"--log_dir={run_dir}", *flags, f"--output={output}"))
    assert done.stdout == f"Report: {output}\n"
    assert done.stderr == ""
    return output


@pytest.mark.ranks
def test_contains_charts_images_and_tables(page: Path) -> None:
    html = page.read_text()
    assert "2 training runs" in html
    assert html.count("<svg") == 4
    assert html.count("data:image/png;base64,") == 2
    assert "contains no checkpoint; name the directory of a run." in html
    assert "<th>Accuracy, test</th>" in html
    for name in "0123456789":
        assert re.search(
            rf"<tr><th>{name}</th><td>(\d\.\d{{3}}|-)</td><td>\d\.\d{{3}}</td>", html
        )
    # Nothing is loaded from elsewhere: all references are to this page.
    for target in re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", html):
        assert target.startswith(("data:", "#")), target
    names = {path.name for path in (page.parents[1] / "png").iterdir()}
    charts = {"loss", "precision", "throughput", "gradient_norm"}
    images = {"confusion_matrix-0", "most_wrong-0"}
    assert names == {f"{name}.png" for name in charts | images}


@pytest.mark.ranks
def test_is_rendered_by_a_browser(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on PATH")
    screenshot = tmp_path / "page.png"
    subprocess.run(
        [
            *(browser, *HEADLESS, "--window-size=1200,2400"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={screenshot}"),
            page.as_uri(),
        ],
        check=True,
        timeout=100,
        capture_output=True,
    )
    pixels = np.asarray(Image.open(screenshot).convert("RGB")).astype(int)
    assert pixels.shape == (2400, 1200, 3)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    assert (np.abs(pixels - [31, 92, 158]).max(axis=-1) < 60).sum() > 3000  # the matrix
    assert ((red == 0) & (green == 0x72) & (blue == 0xB2)).sum() > 100  # a curve
    # Nothing is wider than the window: its right edge is blank.
    assert (pixels[:, -8:] == 255).all()


@pytest.mark.ranks
def test_is_in_the_run_directory_by_default(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    done = run((*REPORT, f"--log_dir={copy}"))
    assert done.stdout == f"Report: {copy / 'report.html'}\n"
    html = (copy / "report.html").read_text()
    assert f"Training run {copy}" in html
    assert "Accuracy on each split" in html


def test_bad_input_is_reported_in_one_line(tmp_path: Path) -> None:
    for flags, expected in (
        (("--log_dir=none",), "none/metrics.jsonl: cannot be read"),
        (("--bogus",), "bogus"),
        (("stray",), "argument 'stray': only flags are accepted"),
    ):
        (message,) = messages(run((*REPORT, *flags), 2, cwd=tmp_path).stderr)
        assert expected in message
