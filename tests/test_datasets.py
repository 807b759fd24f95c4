"""Tests of the data sets, their file format and their download.

The real MNIST is read from ../shared/data/mnist beside the checkout, or from
$DISTMNIST_TEST_MNIST; elsewhere small files take its place.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from distmnist.core.errors import InputError, RunError
from distmnist.data import datasets, download

MNIST = Path(
    os.environ.get("DISTMNIST_TEST_MNIST")
    or Path(__file__).parents[2] / "shared" / "data" / "mnist"
)
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES = tuple(
    datasets.MNIST_SHA256
)
SIZES = (30, 20, 10)  # of fake splits

Files = dict[str, bytes]  # content by name
Serve = Callable[[Files], "Mirrors"]


def idx(values: NDArray[Any]) -> bytes:
    """Writes down what the IDX format is, apart from the code under test."""
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def small_files(train: int = 36, test: int = 6) -> Files:
    """Makes the content of four files in MNIST's form."""
    random = np.random.RandomState(1)
    content = {}
    for names, size in (
        ((TRAIN_IMAGES, TRAIN_LABELS), train),
        ((TEST_IMAGES, TEST_LABELS), test),
    ):
        content[names[0]] = idx(random.randint(0, 256, (size, 28, 28)))
        content[names[1]] = idx(random.randint(0, 10, size))
    return content


def put(directory: Path, files: Files) -> Path:
    """Writes files into a directory."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def load(dataset: str, directory: Path | str) -> datasets.Dataset:
    """Loads with the arguments that only matter to fake data filled in."""
    return datasets.load(dataset, str(directory), SIZES, 0)


def histogram(*splits: datasets.Split) -> list[int]:
    """Counts each label over the splits."""
    return [int(n) for n in np.bincount(np.concatenate([s.labels for s in splits]))]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Small files, which pass for MNIST's."""
    content = small_files()
    for name, data in content.items():
        sha256 = hashlib.sha256(data).hexdigest()
        monkeypatch.setitem(datasets.MNIST_SHA256, name, sha256)
    return content


# ---- Reading ----


@needs_mnist
def test_real_mnist() -> None:
    """The sizes, order and content that every reader of MNIST gets."""
    mnist = load("mnist", MNIST)
    assert mnist.name == "mnist"
    assert [s.size for s in (mnist.train, mnist.validation, mnist.test)] == [
        55000,
        5000,
        10000,
    ]
    assert mnist.fingerprint == (
        "c65580678af93f1ea48c2c0d01d543ec89307c6b8a0eb7ca542d7c18c5f4c681"
    )
    assert mnist.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert histogram(mnist.validation, mnist.train) == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert histogram(mnist.test) == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # The mean that everyone normalizes MNIST with.
    images = np.concatenate([mnist.validation.images, mnist.train.images])
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert load("auto", MNIST).fingerprint == mnist.fingerprint


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_what_is_in_the_files(tmp_path: Path, small: Files, suffix: str) -> None:
    """Bytes go where they belong, and the first ones are held out."""
    pack = gzip.compress if suffix else bytes
    put(tmp_path, {name + suffix: pack(data) for name, data in small.items()})
    data = load("auto", tmp_path)
    assert data.name == "mnist"
    assert str(tmp_path) in data.source
    for split, name, offset in (
        (data.validation, "train", 0),
        (data.train, "train", 3),  # 36 // 12 were held out
        (data.test, "t10k", 0),
    ):
        images = np.frombuffer(small[f"{name}-images-idx3-ubyte"][16:], np.uint8)
        labels = np.frombuffer(small[f"{name}-labels-idx1-ubyte"][8:], np.uint8)
        end = offset + split.size
        assert (split.images == images.reshape(-1, 784)[offset:end]).all()
        assert (split.labels == labels[offset:end]).all()
    assert [s.size for s in (data.train, data.validation, data.test)] == [33, 3, 6]


def test_plain_file_wins_over_gzipped(tmp_path: Path, small: Files) -> None:
    """Where both are there, one is read, and always the same."""
    put(tmp_path, small)
    put(tmp_path, {f"{TEST_LABELS}.gz": b"not to be read"})
    assert load("mnist", tmp_path).name == "mnist"


def test_gzip_of_several_members(tmp_path: Path, small: Files) -> None:
    """The format allows it, and parallel compressors write it."""
    put(tmp_path, small)
    data = small[TEST_IMAGES]
    (tmp_path / TEST_IMAGES).unlink()
    members = gzip.compress(data[:100]) + gzip.compress(data[100:])
    put(tmp_path, {f"{TEST_IMAGES}.gz": members})
    assert load("mnist", tmp_path).name == "mnist"


def test_other_data_in_mnists_form(
    tmp_path: Path, small: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Fashion-MNIST, say, works, under another name and a warning."""
    before = load("mnist", put(tmp_path, small)).fingerprint
    assert not caplog.records
    put(tmp_path, {TRAIN_LABELS: idx(np.zeros(36))})
    data = load("auto", tmp_path)
    assert data.name == "mnist-like"
    assert data.fingerprint != before
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert TRAIN_LABELS in record.getMessage()
    assert TEST_LABELS not in record.getMessage()


GOOD = small_files()
IMAGES, LABELS = GOOD[TEST_IMAGES], GOOD[TEST_LABELS]
ZIPPED = gzip.compress(IMAGES)
HUGE = struct.pack(">IIII", 0x803, 2**32 - 1, 28, 28) + bytes(784)
BAD_FILES = {
    "images-empty": (TEST_IMAGES, b"", "is empty"),
    "images-are-labels": (TEST_IMAGES, LABELS, "starts with 00000801, not 00000803"),
    "images-gzipped-unnamed": (TEST_IMAGES, ZIPPED, "starts with 1f8b08"),
    "images-short-magic": (TEST_IMAGES, IMAGES[:2], "starts with 0000,"),
    "images-header-cut": (TEST_IMAGES, IMAGES[:15], "cut off in its header"),
    "images-small": (TEST_IMAGES, idx(np.zeros((6, 14, 28))), "14x28 pixels, not 28x2"),
    "images-wide": (TEST_IMAGES, idx(np.zeros((6, 28, 29))), "28x29 pixels"),
    "images-none": (TEST_IMAGES, idx(np.zeros((0, 28, 28))), "holds no items"),
    "images-cut": (TEST_IMAGES, IMAGES[:-1], "4704 bytes of data, but .* only 4703"),
    "images-tail": (TEST_IMAGES, IMAGES + b"\0", "4704 bytes of data, but .* more"),
    "images-lie": (TEST_IMAGES, HUGE, "only 784"),
    "images-lie-gz": (f"{TEST_IMAGES}.gz", gzip.compress(HUGE), "only 784"),
    "gz-empty": (f"{TEST_IMAGES}.gz", b"", "is empty"),
    "gz-is-plain": (f"{TEST_IMAGES}.gz", IMAGES, "not a whole gzip file"),
    "gz-cut": (f"{TEST_IMAGES}.gz", ZIPPED[:-9], "not a whole gzip file"),
    "gz-cut-in-header": (f"{TEST_IMAGES}.gz", ZIPPED[:5], "not a whole gzip file"),
    "gz-wrong-checksum": (
        f"{TEST_IMAGES}.gz",
        ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],
        "not a whole gzip file .*CRC",
    ),
    "gz-corrupt": (
        f"{TEST_IMAGES}.gz",
        ZIPPED[:10] + b"\xff" * 9 + ZIPPED[19:],
        "not a whole gzip file",
    ),
    "gz-tail": (f"{TEST_IMAGES}.gz", ZIPPED + b"junk", "not a whole gzip file"),
    "labels-are-images": (TEST_LABELS, IMAGES, "starts with 00000803, not 00000801"),
    "labels-cut": (TEST_LABELS, LABELS[:-2], "6 bytes of data, but .* only 4"),
    "labels-none": (TEST_LABELS, idx(np.zeros(0)), "holds no items"),
    "label-11": (
        TEST_LABELS,
        idx(np.array([3, 9, 0, 11, 200, 1])),
        r"label 11 at position 3 \(from 0\)",
    ),
    "label-10": (TEST_LABELS, idx(np.array([9, 9, 9, 9, 9, 10])), "label 10 .* 5 "),
    "labels-more": (TEST_LABELS, idx(np.zeros(7)), f"6 images, .*{TEST_LABELS} 7 lab"),
    "train-labels-fewer": (TRAIN_LABELS, idx(np.zeros(35)), "36 images, .* 35 labels"),
}


@pytest.mark.parametrize("name,content,message", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """A bad file is named and never replaced, and nothing stands in for it."""
    put(tmp_path, GOOD)
    (tmp_path / name.replace(".gz", "")).unlink()
    put(tmp_path, {name: content})
    datasets.prepare("auto", str(tmp_path), [])  # All four are there.
    with pytest.raises(InputError, match=message) as caught:
        load("auto", tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("kind", ["directory", "dangling link", "forbidden"])
def test_unreadable_file(tmp_path: Path, kind: str) -> None:
    """What has the name of a file, but cannot be read, is an error too."""
    put(tmp_path, GOOD)
    path = tmp_path / TEST_LABELS
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.touch(mode=0)
        if os.access(path, os.R_OK):
            pytest.skip("root may read everything")
    with pytest.raises(InputError, match=f"{TEST_LABELS} cannot be read"):
        load("auto", tmp_path)


def test_too_few_images_to_split(tmp_path: Path) -> None:
    """No split is ever empty."""
    assert load("mnist", put(tmp_path, small_files(train=12))).validation.size == 1
    with pytest.raises(InputError, match="11 images; at least 12"):
        load("mnist", put(tmp_path, small_files(train=11)))


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_incomplete_directory(tmp_path: Path, dataset: str) -> None:
    """Someone meant these files: no digits instead."""
    put(tmp_path, {TRAIN_IMAGES: GOOD[TRAIN_IMAGES], TEST_LABELS: LABELS})
    with pytest.raises(InputError) as caught:
        load(dataset, tmp_path)
    assert f"lacks {TRAIN_LABELS}, {TEST_IMAGES};" in str(caught.value)


def test_empty_directory(tmp_path: Path) -> None:
    """Only 'auto' takes the digits."""
    assert load("auto", tmp_path).name == "digits"
    assert load("auto", tmp_path / "none").name == "digits"
    with pytest.raises(InputError, match=f"lacks {', '.join(NAMES)}; .*--dataset=dig"):
        load("mnist", tmp_path)


# ---- Made data ----


def test_digits() -> None:
    """Every digit once, with its own label, as scipy resizes it."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    data = load("digits", "/nowhere")
    assert data.name == "digits"
    splits = (data.train, data.validation, data.test)
    assert [s.size for s in splits] == [1297, 200, 300]
    order = np.random.RandomState(0).permutation(1797)
    digits = load_digits()
    images = np.concatenate([s.images for s in splits]).astype(float)
    resized = zoom(digits.images, (1, 3.5, 3.5), order=1)[order].reshape(-1, 784)
    assert np.abs(images - resized * 255 / 16).max() <= 0.5 + 1e-6
    assert (np.concatenate([s.labels for s in splits]) == digits.target[order]).all()
    # The same on every machine, and with every seed.
    assert data.fingerprint == (
        "2e10fb5485540358f6efb492716de8facdecd4656ffe86500265e084626fa49c"
    )
    assert datasets.load("digits", "", SIZES, 7).fingerprint == data.fingerprint


def test_fake_is_a_function_of_seed_and_sizes() -> None:
    """The same arguments give the same examples, others others."""
    data = datasets.load("fake", "", (400, 20, 200), 0)
    assert data.name == "fake"
    assert [s.size for s in (data.train, data.validation, data.test)] == [400, 20, 200]
    again, other_seed, other_sizes, negative = (
        datasets.load("fake", "", sizes, seed).fingerprint
        for sizes, seed in (
            ((400, 20, 200), 0),
            ((400, 20, 200), 1),
            ((20, 400, 200), 0),
            ((400, 20, 200), -1),
        )
    )
    assert again == data.fingerprint
    assert len({again, other_seed, other_sizes, negative}) == 4


def test_fake_can_be_learned() -> None:
    """The nearest class mean is nearly always right."""
    data = datasets.load("fake", "", (400, 20, 200), 0)
    means = np.stack(
        [data.train.images[data.train.labels == k].mean(0) for k in range(10)]
    )
    distances = ((data.test.images[:, None] - means) ** 2).sum(-1)
    assert (distances.argmin(1) == data.test.labels).mean() > 0.95


@pytest.mark.parametrize("size", [0, -1])
def test_fake_sizes(size: int) -> None:
    """A size that makes no sense is the user's error, not numpy's."""
    with pytest.raises(InputError, match="at least 1"):
        datasets.load("fake", "", (10, size, 10), 0)


@pytest.mark.parametrize("dataset", ["mnist", "digits", "fake"])
def test_arrays(tmp_path: Path, small: Files, dataset: str) -> None:
    """What Split and Dataset promise."""
    data = load(dataset, put(tmp_path, small))
    for split in (data.train, data.validation, data.test):
        assert split.images.shape == (split.size, 784)
        assert split.labels.shape == (split.size,)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert not split.labels.flags.writeable
        assert 0 <= split.labels.min() <= split.labels.max() <= 9


def test_unknown_dataset() -> None:
    """A typing error in the code is not taken for 'auto'."""
    with pytest.raises(ValueError, match="mnits"):
        load("mnits", "")


def test_import_is_light() -> None:
    """Every rank of every job imports this; most need none of these."""
    code = (
        "import sys, distmnist.data.datasets; "
        "print({'tensorflow', 'sklearn', 'scipy', 'tqdm', 'urllib.request'}"
        " & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    assert output.stdout == "set()\n"


# ---- Download ----


class Mirrors:
    """A server on 127.0.0.1 that is a good mirror and many bad ones."""

    def __init__(self, files: Files) -> None:
        """Starts to serve files as .../<kind of mirror>/<name>."""
        self.requests: list[str] = []
        self.release = threading.Event()  # ends the waiting of slow mirrors
        # Bound, but not listening: connections to it are refused.
        self.deaf = socket.socket()
        self.deaf.bind(("127.0.0.1", 0))
        mirrors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.requests.append(self.path)
                _, kind, name = self.path.split("/")
                body = files[name]
                if kind == "gone" or (kind == "half" and "images" in name):
                    self.send_error(404)
                    return
                if kind == "mute":
                    mirrors.release.wait(30)
                    return
                if kind == "wrong":
                    body = gzip.compress(b"an error page")
                elif kind == "plain":
                    body = gzip.decompress(body)
                self.send_response(200)
                if kind != "endless":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if kind in ("cut", "interrupt", "drip"):
                    body = body[: len(body) // 2]
                self.wfile.write(body)
                if kind == "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                    mirrors.release.wait(30)
                try:
                    while kind == "drip" and not mirrors.release.wait(0.02):
                        self.wfile.write(b"x")
                    while kind == "endless":
                        self.wfile.write(bytes(1 << 16))
                except OSError:
                    pass  # The client has left, as it should.

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(
            target=self.server.serve_forever, args=(0.01,), daemon=True
        ).start()

    def url(self, kind: str) -> str:
        """Returns the base URL of a mirror that behaves like this."""
        if kind == "malformed":
            return "no-scheme"
        address = self.server.server_address
        if kind == "refused":
            address = self.deaf.getsockname()
        return f"http://127.0.0.1:{address[1]}/{kind}/"

    def close(self) -> None:
        """Ends the server."""
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.deaf.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts servers, for this test, and lets no proxy come between."""
    monkeypatch.setenv("no_proxy", "*")
    started = []

    def start(files: Files) -> Mirrors:
        started.append(Mirrors(files))
        return started[-1]

    yield start
    for mirrors in started:
        mirrors.close()


@pytest.fixture
def zipped(small: Files) -> Files:
    """The small files as a mirror has them."""
    return {f"{name}.gz": gzip.compress(data) for name, data in small.items()}


BAD_MIRRORS = {  # kind: what the log says of it
    "gone": "404",
    "wrong": "other content",
    "plain": "Not a gzipped file",
    "cut": "ended before",
    "refused": "refused",
    "malformed": "unknown url type",
    "mute": "no answer within 1 s",
    "drip": "not done after 1 s",
    "endless": "more than 100000 bytes",
}


@needs_mnist
def test_downloads_the_real_mnist(tmp_path: Path, serve: Serve) -> None:
    """From nothing to MNIST; and then nothing more to do."""
    files = {f"{name}.gz": (MNIST / f"{name}.gz").read_bytes() for name in NAMES}
    mirrors = serve(files)
    directory = tmp_path / "new" / "directory"
    datasets.prepare("auto", str(directory), [mirrors.url("good").rstrip("/")])
    assert load("mnist", directory).name == "mnist"
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    datasets.prepare("mnist", str(directory), [mirrors.url("good")])
    assert len(mirrors.requests) == 4  # The second time nothing was missing.


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_bad_mirror_is_left_for_the_next(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    """Whatever a mirror does wrong costs one line of log."""
    if kind in ("mute", "drip"):  # The good mirror must be faster than this.
        monkeypatch.setattr(download, "ANSWER_SECONDS", 1)
        monkeypatch.setattr(download, "TOTAL_SECONDS", 1)
    monkeypatch.setattr(download, "MAX_BYTES", 100000)
    missing = f"{TRAIN_IMAGES}.gz"
    put(tmp_path, {name: data for name, data in zipped.items() if name != missing})
    mirrors = serve(zipped)
    urls = [mirrors.url(kind).rstrip("/"), mirrors.url("good")]
    datasets.prepare("mnist", str(tmp_path), urls)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == zipped
    (record,) = (r for r in caplog.records if r.levelno > logging.INFO)
    line = record.getMessage()
    assert line.startswith(f"Mirror failed: {urls[0]}/{missing}: ")
    assert BAD_MIRRORS[kind] in line
    assert "\n" not in line
    assert "%|" not in capfd.readouterr().err  # No bar where there is no terminal.


def test_progress_bar(
    tmp_path: Path, zipped: Files, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal each file has one."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    datasets.prepare("mnist", str(tmp_path), [serve(zipped).url("good")])
    for name in zipped:
        assert f"{name}: 100%|" in terminal.getvalue()


def test_offline_fails_in_time(
    tmp_path: Path, serve: Serve, zipped: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is not waited for long, and not for each file anew."""
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    mirrors = serve(zipped)
    start = time.monotonic()
    datasets.prepare("auto", str(tmp_path), [mirrors.url("mute")] * 2)
    # Both mirrors for the first file only.
    assert 0.4 <= time.monotonic() - start < 3
    assert len(mirrors.requests) == 2


@pytest.mark.parametrize("kind", ["gone", "refused"])
def test_mnist_that_cannot_be_had(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """One line says what is missing, where, and what to do."""
    mirrors = serve(zipped)
    directory = tmp_path / "new" / "directory"
    with pytest.raises(InputError) as caught:
        datasets.prepare("mnist", str(directory), [mirrors.url(kind)])
    message = str(caught.value)
    for part in (str(directory), *NAMES, "--dataset=digits", "--mnist_mirrors"):
        assert part in message
    assert "\n" not in message
    assert len(caplog.records) == 1  # Only the first file was tried.
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("obstacle", ["no mirror", "bad mirror", "not a directory"])
def test_auto_falls_back_loudly(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    obstacle: str,
) -> None:
    """The warning says what is trained on, why, and the way out."""
    mirrors = serve(zipped)
    directory, kinds = tmp_path / "data", ["good"]
    if obstacle == "not a directory":
        (tmp_path / "file").touch()
        directory = tmp_path / "file" / "data"
    else:
        kinds = ["gone"] if obstacle == "bad mirror" else []
    before = list(tmp_path.iterdir())
    datasets.prepare("auto", str(directory), [mirrors.url(kind) for kind in kinds])
    warning = caplog.records[-1].getMessage()
    assert caplog.records[-1].levelno == logging.WARNING
    assert warning.count("\n") > 5
    assert "NOT MNIST" in warning
    assert "1,797 small digits" in warning
    assert str(directory) in warning
    why = "Not a directory" if kinds == ["good"] else "no mirror delivered"
    assert why in warning
    assert list(tmp_path.iterdir()) == before
    assert load("auto", directory).name == "digits"


def test_unwritable_directory(tmp_path: Path, zipped: Files, serve: Serve) -> None:
    """It shows at the smallest file."""
    mirrors = serve(zipped)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*Not a directory"):
        datasets.prepare("mnist", str(tmp_path / "file/data"), [mirrors.url("good")])
    assert mirrors.requests == [f"/good/{TEST_LABELS}.gz"]  # the smallest


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(
    tmp_path: Path,
    zipped: Files,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """Not the input's fault, and no reason to train on digits."""

    def fail(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=f"cannot write .*{os.strerror(code)}"):
        datasets.prepare("auto", str(tmp_path / "a/b"), [serve(zipped).url("good")])
    assert not any(tmp_path.iterdir())


def test_interrupted_download_leaves_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, zipped: Files, serve: Serve
) -> None:
    """Ctrl-C while bytes arrive."""
    # A shell that starts pytest in the background has it ignore SIGINT.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, old))
    with pytest.raises(KeyboardInterrupt):
        datasets.prepare("auto", str(tmp_path / "a"), [serve(zipped).url("interrupt")])
    assert not any(tmp_path.iterdir())


def test_interrupted_write_leaves_nothing(
    tmp_path: Path, zipped: Files, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while bytes are written."""
    seen: list[str] = []

    def interrupt(fd: int) -> None:
        seen.extend(path.name for path in (tmp_path / "a").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        datasets.prepare("auto", str(tmp_path / "a"), [serve(zipped).url("good")])
    assert len(seen) == 1
    assert seen[0] not in zipped  # The file has its name only when it is whole.
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_some_files_are_there(
    tmp_path: Path, small: Files, zipped: Files, serve: Serve, dataset: str
) -> None:
    """The missing ones are added, the others left alone."""
    mirrors = serve(zipped)
    put(tmp_path, {TRAIN_IMAGES: small[TRAIN_IMAGES]})
    with pytest.raises(InputError, match=f"lacks {', '.join(NAMES[1:])};"):
        datasets.prepare(dataset, str(tmp_path), [mirrors.url("gone")])
    put(tmp_path, {f"{TEST_LABELS}.gz": zipped[f"{TEST_LABELS}.gz"]})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    mirrors.requests.clear()
    datasets.prepare(dataset, str(tmp_path), [mirrors.url("good")])
    assert load("mnist", tmp_path).name == "mnist"
    assert sorted(mirrors.requests) == sorted(
        f"/good/{name}.gz" for name in (TRAIN_LABELS, TEST_IMAGES)
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_mirror_of_half_of_the_files(
    tmp_path: Path, zipped: Files, serve: Serve, dataset: str
) -> None:
    """What could be downloaded stays; nothing stands in for the rest."""
    with pytest.raises(InputError, match=f"lacks {', '.join(NAMES[:3])};"):
        datasets.prepare(dataset, str(tmp_path), [serve(zipped).url("half")])
    assert [path.name for path in tmp_path.iterdir()] == [f"{TEST_LABELS}.gz"]


@pytest.mark.parametrize("content", [b"", idx(np.zeros(36))], ids=["bad", "foreign"])
def test_mnist_does_not_complete_another_data_set(
    tmp_path: Path, zipped: Files, serve: Serve, content: bytes
) -> None:
    """Its images with MNIST's labels would train to nonsense."""
    mirrors = serve(zipped)
    put(tmp_path, {TRAIN_LABELS: content})
    with pytest.raises(InputError, match=TRAIN_LABELS):
        datasets.prepare("auto", str(tmp_path), [mirrors.url("good")])
    assert not mirrors.requests
    assert [path.name for path in tmp_path.iterdir()] == [TRAIN_LABELS]
    assert (tmp_path / TRAIN_LABELS).read_bytes() == content


@pytest.mark.parametrize("dataset", ["digits", "fake"])
def test_nothing_to_prepare(
    tmp_path: Path, zipped: Files, serve: Serve, dataset: str
) -> None:
    """No network and no file for what is made in memory."""
    mirrors = serve(zipped)
    datasets.prepare(dataset, str(tmp_path / "data"), [mirrors.url("good")])
    assert not mirrors.requests
    assert not any(tmp_path.iterdir())


def test_files_follow_the_umask(tmp_path: Path, zipped: Files, serve: Serve) -> None:
    """Other users' jobs can read what one has downloaded."""
    old = os.umask(0o022)
    try:
        datasets.prepare("mnist", str(tmp_path), [serve(zipped).url("good")])
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
