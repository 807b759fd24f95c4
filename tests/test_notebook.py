"""The library from Python: lazy imports, `fit`, and the example notebook."""

from __future__ import annotations

import re
import sys
import weakref
from pathlib import Path

import nbformat
import pytest

import distmnist
from tests import notebook
from tests.launching import run

NOTHING_LEFT = "none: nothing was left to train; for another run, give another log_dir"


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


def kinds(cell: nbformat.NotebookNode) -> list[tuple[str, list[str]]]:
    """Returns the kind of each output of a cell, with the formats that it has."""
    return [
        (output.output_type, sorted(output.get("data", ())))
        for output in cell.get("outputs", ())
    ]


def test_the_notebook_runs(tmp_path: Path) -> None:
    stored, executed = notebook.read(), notebook.read()
    notebook.execute(executed, tmp_path)
    # `python -m tests.notebook` renews the stored outputs.
    assert list(map(kinds, executed.cells)) == list(map(kinds, stored.cells))
    for cells in (stored.cells, executed.cells):
        bar, _, result = cells[1].outputs
        assert bar.data["text/plain"].startswith("100% |####")
        accuracy = re.search(r"test accuracy +(\S+)", result.data["text/plain"])
        assert accuracy
        assert float(accuracy[1]) > 0.9
        assert "<td" in result.data["text/html"]
        assert "image/png" in cells[5].outputs[-1].data
        assert NOTHING_LEFT in cells[-1].outputs[-1].data["text/plain"]
    assert (tmp_path / "logs/notebook/metrics.jsonl").exists()


def test_fits_twice_in_a_process(tmp_path: Path) -> None:
    earlier: list[weakref.ref[distmnist.Dataset]] = []
    for model in ("mlp", "cnn"):  # which use different numbers of threads
        config = distmnist.Config(
            dataset="digits", max_steps=2, model=model, log_dir=str(tmp_path / model)
        )
        fitted = distmnist.fit(config)
        assert not any(dataset() for dataset in earlier)  # they leave no memory
        assert fitted.step == 2
        assert fitted.loss > 0
        assert fitted.precision.keys() == {"train", "validation", "test"}
        answers = fitted.model(fitted.dataset.test.features)
        correct = answers["class"].numpy() == fitted.dataset.test.targets
        assert correct.mean() == fitted.precision["test"]
        assert fitted.trained
        assert f"loss                 {fitted.loss:.4f}, last batch" in repr(fitted)
        earlier.append(weakref.ref(fitted.dataset))
        del fitted


def test_the_result_says_that_nothing_was_left_to_train(tmp_path: Path) -> None:
    config = distmnist.Config(
        dataset="digits", max_steps=2, log_dir=str(tmp_path / "<logs>")
    )
    first, again = distmnist.fit(config), distmnist.fit(config)
    assert (again.trained, again.step) == (False, 2)
    assert again.precision == first.precision
    for text in (repr(again), again._repr_html_()):
        assert NOTHING_LEFT in text
        assert "nan" not in text
    assert f"log_dir              {tmp_path}/<logs>" in repr(again)
    assert "/&lt;logs&gt;</td>" in again._repr_html_()
