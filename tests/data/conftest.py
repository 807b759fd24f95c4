"""Fixtures of the tests of data sets."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator

import pytest

from distmnist.data.sources import mnist
from tests.data.idx_files import Files, small_files
from tests.data.mirrors import Mirrors


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Small files whose hashes pass for those of MNIST's files."""
    content = small_files()
    for name, data in content.items():
        monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(data).hexdigest())
    return content


@pytest.fixture
def zipped(small: Files) -> Files:
    """The small files as a mirror serves them."""
    return {f"{name}.gz": gzip.compress(data) for name, data in small.items()}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Files], Mirrors]]:
    """Starts servers for the duration of a test, bypassing any proxy."""
    monkeypatch.setenv("no_proxy", "*")
    started = []

    def start(files: Files) -> Mirrors:
        started.append(Mirrors(files))
        return started[-1]

    yield start
    for mirrors in started:
        mirrors.close()
