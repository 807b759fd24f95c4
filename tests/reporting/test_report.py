"""The program that writes the report, on real runs."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.launching import messages, run

REPORT = (sys.executable, "-m", "distmnist.report")


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
    assert html.count('class="plot"') == 9
    assert html.count("data:image/png;base64,") > 0  # misclassified examples
    assert "contains no checkpoint; name the directory of a run</p>" in html
    assert ">Accuracy, test</th>" in html
    for name in "0123456789":
        assert re.search(
            rf'<th scope="row">{name}</th><td class="number">(\d\.\d{{3}}|-)</td>'
            r'<td class="number">\d\.\d{3}</td>',
            html,
        )
    names = {path.name for path in (page.parents[1] / "png").iterdir()}
    charts = {"loss", "throughput", "gradient_norm", "precision"}
    charts |= {"loss_eval", "loss_eval_validation", "loss_eval_train"}
    charts |= {"precision_validation", "precision_train"}
    images = {"confusion_matrix-0", "most_wrong-0"}
    assert names == {f"{name}.png" for name in charts | images}


@pytest.mark.ranks
def test_is_in_the_run_directory_by_default(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    for _ in range(2):  # a report is overwritten; a run is shown once
        done = run((*REPORT, f"--log_dir={copy}", f"--compare={copy},{copy}/"))
        assert done.stdout == f"Report: {copy / 'report.html'}\n"
    metrics = copy / "metrics.jsonl"
    done = run((*REPORT, f"--log_dir={copy}", f"--output={metrics}"), 2)
    (message,) = messages(done.stderr)
    assert "exists, and is not a report; name another file" in message
    html = (copy / "report.html").read_text()
    assert "Training run run</h1>" in html
    assert str(copy) in html.replace("<wbr>", "")
    assert "Accuracy on each split" in html


def test_bad_input_is_reported_in_one_line(tmp_path: Path) -> None:
    for flags, expected in (
        (("--log_dir=none",), "none/metrics.jsonl: cannot be read"),
        (("--bogus",), "bogus"),
        (("stray",), "argument 'stray': only flags are accepted"),
    ):
        (message,) = messages(run((*REPORT, *flags), 2, cwd=tmp_path).stderr)
        assert expected in message
