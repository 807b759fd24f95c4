"""Downloads of MNIST: from mirrors that work, and from all kinds that do not."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distmnist.core.errors import InputError, RunError
from distmnist.data import download
from tests.data.idx_files import (
    NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Files,
    idx,
    put,
    source,
)
from tests.data.mirrors import Mirrors

Serve = Callable[[Files], Mirrors]

BAD_MIRRORS = {  # behaviour: what is logged
    "gone": "404",
    "wrong": "unexpected content",
    "plain": "Not a gzipped file",
    "cut": "ended before",
    "refused": "refused",
    "malformed": "unknown url type",
    "mute": "no answer within 1 s",
    "drip": "not finished after 1 s",
    "endless": "more than 100000 bytes",
}


def test_downloads_the_real_mnist(
    mnist_dir: Path, tmp_path: Path, serve: Serve
) -> None:
    files = {f"{name}.gz": (mnist_dir / f"{name}.gz").read_bytes() for name in NAMES}
    mirrors = serve(files)
    directory = tmp_path / "new" / "directory"
    source("auto", directory, mirrors.url("good").rstrip("/")).prepare()
    assert source("mnist", directory).load().name == "mnist"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    source("mnist", directory, mirrors.url("good")).prepare()
    assert len(mirrors.requests) == 4  # none the second time


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_a_broken_mirror_is_skipped_with_one_line_of_log(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    if kind in ("mute", "drip"):  # the good mirror must be faster
        monkeypatch.setattr(download, "ANSWER_SECONDS", 1)
        monkeypatch.setattr(download, "TOTAL_SECONDS", 1)
    monkeypatch.setattr(download, "MAX_BYTES", 100000)
    missing = f"{TRAIN_IMAGES}.gz"
    put(tmp_path, {name: data for name, data in zipped.items() if name != missing})
    mirrors = serve(zipped)
    urls = [mirrors.url(kind).rstrip("/"), mirrors.url("good")]
    source("mnist", tmp_path, *urls).prepare()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == zipped
    (record,) = (r for r in caplog.records if r.levelno > logging.INFO)
    line = record.getMessage()
    assert line.startswith(f"Mirror failed: {urls[0]}/{missing}: ")
    assert BAD_MIRRORS[kind] in line
    assert "\n" not in line
    assert "%|" not in capfd.readouterr().err  # no bar without a terminal


def test_each_file_has_a_progress_bar_on_a_terminal(
    tmp_path: Path, zipped: Files, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    source("mnist", tmp_path, serve(zipped).url("good")).prepare()
    for name in zipped:
        assert f"{name}: 100%|" in terminal.getvalue()


def test_silent_mirrors_are_tried_briefly_and_once(
    tmp_path: Path, serve: Serve, zipped: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    mirrors = serve(zipped)
    start = time.monotonic()
    source("auto", tmp_path, *[mirrors.url("mute")] * 2).prepare()
    # Both mirrors, for the first file only.
    assert 0.4 <= time.monotonic() - start < 3
    assert len(mirrors.requests) == 2


@pytest.mark.parametrize("kind", ["gone", "refused"])
def test_unavailable_mnist_is_one_line(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """It says what is missing, where, and what to do."""
    mirrors = serve(zipped)
    directory = tmp_path / "new" / "directory"
    with pytest.raises(InputError) as caught:
        source("mnist", directory, mirrors.url(kind)).prepare()
    message = str(caught.value)
    for part in (str(directory), *NAMES, "--dataset=digits", "--mnist_mirrors"):
        assert part in message
    assert "\n" not in message
    assert len(caplog.records) == 1  # only the first file was tried
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "obstacle", ["malformed URL", "missing file", "not a directory"]
)
def test_auto_falls_back_with_a_warning(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    obstacle: str,
) -> None:
    """It says which data are used, why, and how to change that."""
    mirrors = serve(zipped)
    directory, kind = tmp_path / "data", "good"
    if obstacle == "not a directory":
        (tmp_path / "file").touch()
        directory = tmp_path / "file" / "data"
    else:
        kind = "gone" if obstacle == "missing file" else "malformed"
    before = list(tmp_path.iterdir())
    source("auto", directory, mirrors.url(kind)).prepare()
    warning = caplog.records[-1].getMessage()
    assert caplog.records[-1].levelno == logging.WARNING
    assert warning.count("\n") > 5
    assert "NOT MNIST" in warning
    assert "1,797 small digits" in warning
    assert str(directory) in warning
    why = "Not a directory" if kind == "good" else "no mirror delivered"
    assert why in warning
    assert list(tmp_path.iterdir()) == before
    assert source("auto", directory).load().name == "digits"


def test_unwritable_directory_is_detected_at_the_smallest_file(
    tmp_path: Path, zipped: Files, serve: Serve
) -> None:
    mirrors = serve(zipped)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*Not a directory"):
        source("mnist", tmp_path / "file/data", mirrors.url("good")).prepare()
    assert mirrors.requests == [f"/good/{TEST_LABELS}.gz"]  # the smallest


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_runtime_failure(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """--dataset=auto does not fall back to the digits then."""

    def fail(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=f"cannot write .*{os.strerror(code)}"):
        source("auto", tmp_path / "a/b", serve(zipped).url("good")).prepare()
    assert not any(tmp_path.iterdir())


def test_interrupted_download_leaves_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, zipped: Files, serve: Serve
) -> None:
    """Ctrl-C while receiving."""
    # A shell that starts pytest in the background makes it ignore SIGINT.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, old))
    # A training in this process has left a thread that ends it on a signal.
    wakeup = signal.set_wakeup_fd(-1)
    request.addfinalizer(lambda: signal.set_wakeup_fd(wakeup))
    with pytest.raises(KeyboardInterrupt):
        source("auto", tmp_path / "a", serve(zipped).url("interrupt")).prepare()
    assert not any(tmp_path.iterdir())


def test_interrupted_write_leaves_nothing(
    tmp_path: Path, zipped: Files, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while writing."""
    seen: list[str] = []

    def interrupt(fd: int) -> None:
        seen.extend(path.name for path in (tmp_path / "a").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        source("auto", tmp_path / "a", serve(zipped).url("good")).prepare()
    assert len(seen) == 1
    assert seen[0] not in zipped  # a file has its name only once it is complete
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_only_missing_files_are_downloaded(
    tmp_path: Path, small: Files, zipped: Files, serve: Serve, dataset: str
) -> None:
    mirrors = serve(zipped)
    put(tmp_path, {TRAIN_IMAGES: small[TRAIN_IMAGES]})
    with pytest.raises(InputError, match=f"lacks {', '.join(NAMES[1:])};"):
        source(dataset, tmp_path, mirrors.url("gone")).prepare()
    put(tmp_path, {f"{TEST_LABELS}.gz": zipped[f"{TEST_LABELS}.gz"]})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    mirrors.requests.clear()
    source(dataset, tmp_path, mirrors.url("good")).prepare()
    assert source("mnist", tmp_path).load().name == "mnist"
    assert sorted(mirrors.requests) == sorted(
        f"/good/{name}.gz" for name in (TRAIN_LABELS, TEST_IMAGES)
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_a_mirror_of_half_of_the_files(
    tmp_path: Path, zipped: Files, serve: Serve, dataset: str
) -> None:
    """The files that it has are kept; the rest is an error."""
    with pytest.raises(InputError, match=f"lacks {', '.join(NAMES[:3])};"):
        source(dataset, tmp_path, serve(zipped).url("half")).prepare()
    assert [path.name for path in tmp_path.iterdir()] == [f"{TEST_LABELS}.gz"]


@pytest.mark.parametrize("content", [b"", idx(np.zeros(36))], ids=["bad", "foreign"])
def test_mnist_does_not_complete_another_data_set(
    tmp_path: Path, zipped: Files, serve: Serve, content: bytes
) -> None:
    """Its images with MNIST's labels would train on wrong labels."""
    mirrors = serve(zipped)
    put(tmp_path, {TRAIN_LABELS: content})
    with pytest.raises(InputError, match=TRAIN_LABELS):
        source("auto", tmp_path, mirrors.url("good")).prepare()
    assert not mirrors.requests
    assert [path.name for path in tmp_path.iterdir()] == [TRAIN_LABELS]
    assert (tmp_path / TRAIN_LABELS).read_bytes() == content


@pytest.mark.parametrize("dataset", ["digits", "fake"])
def test_data_made_in_memory_need_no_network_and_no_files(
    tmp_path: Path, zipped: Files, serve: Serve, dataset: str
) -> None:
    mirrors = serve(zipped)
    source(dataset, tmp_path / "data", mirrors.url("good")).prepare()
    assert not mirrors.requests
    assert not any(tmp_path.iterdir())


def test_files_follow_the_umask(tmp_path: Path, zipped: Files, serve: Serve) -> None:
    """Other users' jobs can read the downloaded files."""
    old = os.umask(0o022)
    try:
        source("mnist", tmp_path, serve(zipped).url("good")).prepare()
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
