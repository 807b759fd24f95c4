"""The library from Python: lazy imports, `fit`, and the example notebook."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import distmnist
from tests.launching import ROOT, environment, run


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import distmnist, sys\n"
        "heavy = {'tensorflow', 'numpy', 'absl', 'horovod', 'mpi4py'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "distmnist.Config(), distmnist.Dataset, distmnist.fit\n"
        "assert 'tensorflow' not in sys.modules"
    )
    run((sys.executable, "-c", program))


def test_public_names_are_available() -> None:
    assert set(distmnist.__all__) <= set(dir(distmnist))
    for name in distmnist.__all__:
        assert getattr(distmnist, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Networks'"):
        _ = distmnist.Networks


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    notebook = nbformat.read(ROOT / "examples/digits.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=100, resources=resources).execute()
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    ]
    summary = dict(re.findall(r"  (.+): (.+)", shown[0].data["text/plain"]))
    assert float(summary["accuracy, test"]) > 0.9
    assert summary["run"] == "logs/notebook"
    assert "<th>accuracy, test</th>" in shown[0].data["text/html"]
    bars = [
        output.data["application/vnd.jupyter.widget-view+json"]
        for output in notebook.cells[1].outputs
        if output.output_type == "display_data"
    ]
    assert len(bars) == 1  # a progress bar
    assert "image/png" in shown[-1].data
    assert (tmp_path / "logs/notebook/metrics.jsonl").exists()


def test_fits_twice_in_a_process(tmp_path: Path) -> None:
    for model in ("mlp", "cnn"):  # which use different numbers of threads
        config = distmnist.Config(
            dataset="digits", max_steps=2, model=model, log_dir=str(tmp_path / model)
        )
        fitted = distmnist.fit(config)
        assert fitted.step == 2
        assert fitted.loss > 0
        assert fitted.precision.keys() == {"train", "validation", "test"}
        answers = fitted.model(fitted.dataset.test.features)
        correct = answers["class"].numpy() == fitted.dataset.test.targets
        assert correct.mean() == fitted.precision["test"]
        assert fitted.trained
        assert "nothing was left" not in repr(fitted)
    again = distmnist.fit(config)
    assert (again.trained, again.step) == (False, 2)
    assert again.precision == fitted.precision
    for shown in (repr(again), again._repr_html_()):
        assert "nothing was left to train" in shown
        assert "restart=True" in shown
