"""Prepared data at a URL: what is read is what was uploaded, or a line says why not."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist.core.errors import InputError, RunError, UserError
from distmnist.data.dataset import SPLITS, Dataset
from distmnist.data.shards import index, local_copy, remote
from distmnist.data.sources.prepared import Prepared, open_prepared
from tests import launching
from tests.data.remote_server import RemoteServer
from tests.data.test_shards import dataset, prepare, small  # noqa: F401

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

SHARD = "train-00002.tfrecord"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits short."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    monkeypatch.setattr(remote, "_STALL_SECONDS", 20.0)


@pytest.fixture
def written(tmp_path: Path) -> Dataset:
    """A data set, which was prepared in `data`."""
    prepare(dataset(), tmp_path / "data")
    return dataset()


@pytest.fixture
def server(written: Dataset, tmp_path: Path) -> Iterator[RemoteServer]:
    """A server of it."""
    with RemoteServer(tmp_path / "data") as server:
        yield server


def assert_equal(found: Dataset, written: Dataset) -> None:
    """Asserts that data sets have the same examples."""
    for name in SPLITS:
        everything = np.arange(written.splits[name].size)
        for mine, theirs in zip(
            found.splits[name].take(everything), written.splits[name].take(everything)
        ):
            np.testing.assert_array_equal(mine, theirs)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def copy_of(local: Path) -> Path:
    """Returns the directory of the only copy in a local directory."""
    (copy,) = local.iterdir()
    return copy


@pytest.mark.parametrize("compression", index.COMPRESSIONS)
def test_it_is_downloaded_once_and_read(tmp_path: Path, compression: str) -> None:
    data, local = tmp_path / "data", tmp_path / "new/local"
    prepare(dataset(), data, compression=compression)
    with RemoteServer(data) as server:
        for _ in range(2):
            found = open_prepared(f"{server.url}/", local_dir=local)
            assert_equal(found, dataset())
            assert found.source == f"{server.url}, prepared from a test"
        # The index alone is read again: it says which data are there.
        assert sorted(server.requests) == sorted([*names(data), index.NAME])
    copy = copy_of(local)
    for name in names(data):
        assert (copy / name).read_bytes() == (data / name).read_bytes()
    assert names(copy) == names(data)
    here = open_prepared(data)
    assert found.fingerprint == here.fingerprint == open_prepared(copy).fingerprint


def test_any_protocol_of_fsspec_will_do(tmp_path: Path, written: Dataset) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "data"), "/bucket/data", recursive=True)
    try:
        found = open_prepared("memory://bucket/data", local_dir=tmp_path / "local")
        assert_equal(found, written)
    finally:
        memory.rm("/bucket", recursive=True)


@settings(max_examples=25)
@given(st.data())
def test_only_what_is_missing_or_damaged_is_fetched(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("remote")
    prepare(dataset(), directory / "data")
    with RemoteServer(directory / "data") as server:
        source = Prepared(server.url, str(directory / "local"))
        source.prepare()
        copy = copy_of(directory / "local")
        kinds = st.sampled_from(["kept", "missing", "short", "seal", "other"])
        expected = []
        for path in sorted(copy.glob("*.tfrecord")):
            kind = data.draw(kinds)
            content = path.read_bytes()
            if kind == "missing":
                path.unlink()
            elif kind == "short":
                path.write_bytes(content[:-1])
            elif kind == "seal":
                path.write_bytes(content[:-20] + b"x" + content[-19:])
            elif kind == "other":
                path.write_bytes(bytes(len(content)))
            expected += [path.name] * (kind != "kept")
        server.requests.clear()
        source = Prepared(server.url, str(directory / "local"))
        source.prepare()
        assert sorted(server.requests) == sorted([index.NAME, *expected])
        assert_equal(source.load(), dataset())


PASSING = ["503", "429", "page", "short", "flipped", "mute", "stalled", "cut"]
PASSING += ["wrong length", "endless"]
STALLS = ["mute", "stalled", "dripping"]


@pytest.mark.parametrize("name", [index.NAME, SHARD])
@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass_are_survived(
    tmp_path: Path,
    written: Dataset,
    server: RemoteServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    name: str,
) -> None:
    if fault in STALLS:
        monkeypatch.setattr(remote, "_STALL_SECONDS", 1.5)
    server.faults = {name: [fault] * 2}
    if (fault, name) in (("flipped", index.NAME), ("endless", index.NAME)):
        pytest.skip("see the tests of forged indices, and of limits")
    found = open_prepared(server.url, local_dir=tmp_path / "local")
    assert_equal(found, written)
    assert server.requests.count(name) == 3
    copy = copy_of(tmp_path / "local")
    assert names(copy) == names(tmp_path / "data")


MESSAGES = {
    "404": (InputError, "there is no such file; give the URL of a directory", 1),
    "403": (RunError, "cannot be downloaded (ClientResponseError: 403, message=", 1),
    "503": (RunError, "cannot be downloaded (ClientResponseError: 503, message=", 3),
    "page": (InputError, "", 3),
    "short": (InputError, "", 3),
    "cut": (RunError, "cannot be downloaded (ClientPayloadError: ", 3),
    "wrong length": (RunError, "cannot be downloaded (ClientPayloadError: ", 3),
    "mute": (RunError, "(0 bytes received in 1.5 s); check URL, network", 3),
    "stalled": (RunError, " bytes received in 1.5 s); check URL, network", 3),
    "dripping": (RunError, " bytes received in 1.5 s); check URL, network", 3),
    "elsewhere": (RunError, "signature removed", 1),
}


@pytest.mark.parametrize("name", [index.NAME, SHARD])
@pytest.mark.parametrize("fault", MESSAGES)
def test_faults_that_stay_are_one_line(
    tmp_path: Path,
    server: RemoteServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    name: str,
) -> None:
    if fault in STALLS:
        monkeypatch.setattr(remote, "_STALL_SECONDS", 1.5)
    server.faults = {name: [fault] * 99}
    kind, message, attempts = MESSAGES[fault]
    begin = time.monotonic()
    with pytest.raises(UserError) as caught:
        open_prepared(server.url, local_dir=tmp_path / "local")
    assert time.monotonic() - begin < 30
    text = str(caught.value)
    assert type(caught.value) is kind
    assert text.startswith(f"{server.url}/{name}: ")
    assert "\n" not in text
    if fault == "elsewhere":
        assert "403" in text
        assert "SECRET" not in text
    elif message:
        assert message in text
    elif name == index.NAME:
        assert "no valid index" in text
    else:
        assert "; upload the data set again" in text
    assert server.requests.count(name) == attempts
    # What was complete before is kept, and nothing else.
    left = [path for path in (tmp_path / "local").rglob("*") if path.is_file()]
    assert {path.name for path in left} <= set(names(tmp_path / "data")) - {name}
    server.faults.clear()
    server.requests.clear()
    open_prepared(server.url, local_dir=tmp_path / "local")
    missing = set(names(tmp_path / "data")) - {path.name for path in left}
    assert sorted(server.requests) == sorted(missing | {index.NAME})


def test_a_server_that_refuses_connections_is_one_line(
    tmp_path: Path, server: RemoteServer
) -> None:
    with pytest.raises(
        RunError, match=r"cannot be downloaded \(Cannot connect to host"
    ):
        open_prepared(server.refused, local_dir=tmp_path / "local")


def test_what_is_longer_than_it_says_does_not_fill_the_disk(
    tmp_path: Path, server: RemoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_MOST_INDEX_BYTES", 1 << 20)
    for name in (index.NAME, SHARD):
        server.faults = {name: ["endless"] * 99}
        with pytest.raises(RunError, match=r"more than \d+ bytes"):
            open_prepared(server.url, local_dir=tmp_path / "local")
        left = [path for path in (tmp_path / "local").rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in left) < 10_000


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("compression", index.COMPRESSIONS)
def test_no_flipped_byte_is_stored(tmp_path: Path, compression: str) -> None:
    """Neither of a record nor of a seal, whatever the server has."""
    data = tmp_path / "data"
    prepare(dataset(), data, compression=compression)
    found = index.read(data)
    (shard,) = [shard for shard in found.train if shard.file == SHARD]
    origin = remote.Remote(f"file://{data}")
    for place in range(shard.bytes):
        flip(data / SHARD, place)
        with pytest.raises(InputError) as caught:
            origin.fetch(found, shard, tmp_path / "copy")
        assert str(caught.value).startswith(f"file://{data}/{SHARD}: ")
        flip(data / SHARD, place)
    assert names(tmp_path) == ["data"]
    origin.fetch(found, shard, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (data / SHARD).read_bytes()


def test_forged_records_with_right_checksums_are_found(tmp_path: Path) -> None:
    """The digest is compared with the records, not with the seal alone."""
    for seed in (0, 1):
        prepare(dataset(seed=seed), tmp_path / str(seed))
    found = index.read(tmp_path / "0")
    seal = index.seal_bytes("none", found.train[2].examples)
    mine, other = (tmp_path / str(seed) / SHARD for seed in (0, 1))
    mine.write_bytes(other.read_bytes()[:-seal] + mine.read_bytes()[-seal:])
    origin = remote.Remote(f"file://{tmp_path / '0'}")
    with pytest.raises(InputError, match="is of other data than the index"):
        origin.fetch(found, found.train[2], tmp_path / "copy")


def test_other_data_at_the_url_are_another_copy(
    tmp_path: Path, server: RemoteServer
) -> None:
    first = open_prepared(server.url, local_dir=tmp_path / "local")
    shutil.rmtree(tmp_path / "data")
    prepare(dataset(seed=1), tmp_path / "data")
    second = open_prepared(server.url, local_dir=tmp_path / "local")
    assert first.fingerprint != second.fingerprint
    assert_equal(first, dataset())
    assert_equal(second, dataset(seed=1))
    assert len(names(tmp_path / "local")) == 2


def test_data_stored_in_two_ways_have_a_copy_each(tmp_path: Path) -> None:
    local, found = tmp_path / "local", []
    for compression in index.COMPRESSIONS:
        prepare(dataset(), tmp_path / compression, compression=compression)
        found.append(open_prepared(tmp_path / compression, local_dir=local))
    for each in found:
        assert_equal(each, dataset())
    assert found[0].fingerprint == found[1].fingerprint
    assert local_copy.find(local, found[0].fingerprint) in local.iterdir()
    assert local_copy.find(local, "0" * 64) is None


def test_jobs_that_download_at_the_same_time(
    tmp_path: Path, written: Dataset, server: RemoteServer
) -> None:
    found, errors = [], []

    def download() -> None:
        try:
            found.append(open_prepared(server.url, local_dir=tmp_path / "local"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for each in found:
        assert_equal(each, written)
    assert names(copy_of(tmp_path / "local")) == names(tmp_path / "data")


def test_without_a_network_the_copy_is_a_data_set(
    tmp_path: Path, written: Dataset, server: RemoteServer
) -> None:
    open_prepared(server.url, local_dir=tmp_path / "local")
    server.faults = {index.NAME: ["503"] * 99}
    with pytest.raises(RunError, match="the same command continues"):
        open_prepared(server.url, local_dir=tmp_path / "local")
    assert_equal(open_prepared(copy_of(tmp_path / "local")), written)


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_a_full_disk_is_told(tmp_path: Path, small_disk: Path) -> None:
    prepare(dataset(400), tmp_path / "data")
    with RemoteServer(tmp_path / "data") as server:
        with pytest.raises(RunError) as caught:
            open_prepared(server.url, local_dir=small_disk)
        assert "(No space left on device); free some space" in str(caught.value)
        assert all(n == 1 for n in map(server.requests.count, server.requests))


SECRETS = ["https://me:word@host/data", "https://token@host/data"]
SECRETS += ["https://host/data?X-Amz-Signature=word", "s3://key:word@bucket/data"]


@pytest.mark.parametrize("url", SECRETS)
def test_secrets_are_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="without '::', user, password") as caught:
        open_prepared(url, local_dir=tmp_path)
    for word in ("word", "token", "key"):
        assert word not in str(caught.value).replace("password", "")


def test_urls_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {
        "nothing://host/data": "nothing://host/data: Protocol not known: nothing; see",
        "zip://a::https://host/data": "without '::'",
    }
    for url, message in cases.items():
        with pytest.raises(InputError, match=message):
            open_prepared(url, local_dir=tmp_path)
    with pytest.raises(InputError, match="data: a URL is read from a local copy; give"):
        open_prepared("https://host/data")
    known = {"class": "no_such_package.System", "err": "Install no_such to use it"}
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry.known_implementations, "other", known)
    with pytest.raises(InputError, match="other://b/x: Install no_such to use it; see"):
        open_prepared("other://b/x", local_dir=tmp_path)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    message = r"need fsspec; install it: pip install 'distmnist\[remote\]'"
    with pytest.raises(InputError, match=message):
        open_prepared("https://host/data", local_dir=tmp_path)


def test_a_proxy_and_settings_of_fsspec_are_used(
    tmp_path: Path,
    written: Dataset,
    server: RemoteServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/data"))
    found = open_prepared("http://data.invalid/data", local_dir=tmp_path / "local")
    assert_equal(found, written)
    kwargs = {"client_kwargs": {"trust_env": False}}
    monkeypatch.setitem(fsspec.config.conf, "http", kwargs)
    with pytest.raises(RunError, match=r"connect to host data\.invalid"):
        open_prepared("http://data.invalid/data", local_dir=tmp_path / "local")


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_training_evaluation_and_resuming(tmp_path: Path) -> None:
    """From the URL and from the directory in turns: it is one run."""
    prepared, local = tmp_path / "prepared", tmp_path / "local"
    prepare = (sys.executable, "-m", "distmnist.prepare", "digits", prepared)
    evaluate = (sys.executable, "-m", "distmnist.evaluate", "--log_dir=run")
    one = (*launching.TRAIN, "--log_dir=run", "--data_residency=stream")
    two = (*launching.MPIRUN, 2, *one)

    def run(command: Sequence[object], status: int = 0) -> str:
        done = launching.run(command, status, cwd=tmp_path, env={"no_proxy": "*"})
        for word in ("Traceback", "Unclosed", "never retrieved"):
            assert word not in done.stderr
        return done.stderr

    run(prepare)
    with RemoteServer(prepared) as server:
        there = (f"--dataset={server.url}", f"--local_dir={local}")
        shards = ["train-00000.tfrecord", "validation-00000.tfrecord"]
        shards.append("test-00000.tfrecord")
        run((*one, f"--dataset={prepared}", "--max_steps=10"))
        run((*two, *there, "--max_steps=20"))
        # Each rank reads the index, one the shards.
        assert sorted(server.requests) == sorted([*shards, *[index.NAME] * 2])
        server.requests.clear()
        run(evaluate)  # from the copy
        assert not server.requests
        shutil.rmtree(local)
        (line,) = launching.messages(run(evaluate, 2))
        assert f"give --dataset={server.url} --local_dir=DIRECTORY, if you" in line
        assert not server.requests
        assert not local.exists()
        run((*evaluate, *there))
        assert sorted(server.requests) == sorted([*shards, index.NAME])
        run((*one, f"--dataset={prepared}", "--max_steps=30"))
        assert (tmp_path / "run/model.ckpt-30.index").exists()
        shutil.rmtree(local)
        server.faults = {shards[2]: ["404"] * 99}
        (line,) = launching.messages(run((*two, *there, "--max_steps=40"), 2))
        assert line.startswith(f"distmnist: {server.url}/{shards[2]}: there is no such")
        assert "(rank 0, on " in line
