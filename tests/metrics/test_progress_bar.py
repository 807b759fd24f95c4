"""The progress bar in a notebook; tests/metrics/test_console.py has the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from tests.notebook import execute

FIT = """
import distmnist

config = distmnist.Config(
    dataset="digits", max_steps=20, log_every=10, log_dir="logs", progress={progress}
)
distmnist.fit(config).step
"""
WITHOUT_WIDGETS = (
    "import sys\nsys.modules['ipywidgets'] = None  # as if not installed\n"
)
WIDGET = "application/vnd.jupyter.widget-view+json"


def outputs(source: str, directory: Path) -> list[nbformat.NotebookNode]:
    """Returns the outputs of a notebook of one cell, without its result."""
    cell = nbformat.v4.new_code_cell(source)
    execute(nbformat.v4.new_notebook(cells=[cell]), directory)
    *shown, result = cell.outputs
    assert result.data["text/plain"] == "20"
    return shown


def test_a_notebook_shows_a_widget_that_stays(tmp_path: Path) -> None:
    bar, lines = outputs(FIT.format(progress=None), tmp_path)
    assert WIDGET in bar.data
    # The text is what a saved notebook shows where widgets are not rendered.
    assert bar.data["text/plain"].startswith("100% |####")
    assert "step 20/20, epoch 1.54, loss " in bar.data["text/plain"]
    assert lines.text.startswith("Step 10: loss = ")
    assert "left" not in lines.text


def test_a_notebook_without_widgets_shows_the_lines_alone(tmp_path: Path) -> None:
    (lines,) = outputs(WITHOUT_WIDGETS + FIT.format(progress=None), tmp_path)
    assert lines.name == "stdout"
    assert "left" not in lines.text


def test_a_notebook_without_widgets_shows_text_on_request(tmp_path: Path) -> None:
    shown = outputs(WITHOUT_WIDGETS + FIT.format(progress=True), tmp_path)
    (text,) = (output.text for output in shown if output.name == "stderr")
    assert re.fullmatch(r" +\r", text)  # the bar, cleared at the end


def test_a_notebook_shows_no_bar_on_request(tmp_path: Path) -> None:
    (lines,) = outputs(FIT.format(progress=False), tmp_path)
    assert lines.name == "stdout"
