"""Executes the example notebook, and writes its outputs into it.

Usage: python -m tests.notebook
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.launching import ROOT, environment

NOTEBOOK = ROOT / "examples/digits.ipynb"


def read() -> nbformat.NotebookNode:
    """Returns the notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: nbformat.NotebookNode, directory: Path) -> None:
    """Executes a notebook, whose outputs are replaced.

    Args:
        notebook: the notebook.
        directory: working directory of its kernel.
    """
    client = NotebookClient(
        notebook,
        timeout=100,
        resources={"metadata": {"path": str(directory)}},
        coalesce_streams=True,
        record_timing=False,
    )
    client.execute(env=environment())


if __name__ == "__main__":
    executed = read()
    with tempfile.TemporaryDirectory() as scratch:
        execute(executed, Path(scratch))
    nbformat.write(executed, NOTEBOOK)
