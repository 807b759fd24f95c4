"""The reader of checkpoints: what TensorFlow writes, and nothing that is forged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import tensor_bundle_pb2

from distmnist.checkpoint import format, inference, reader, training_data
from distmnist.checkpoint.reader import Bundle
from distmnist.core.errors import InputError
from distmnist.core.regular_file import File
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed.cluster import Cluster
from tests.checkpoint.test_manager import saved

INDEX, SUMS, DATA = ".index", ".sha256", ".data-00000-of-00001"
TYPES = (
    *["float16", "bfloat16", "float32", "float64", "bool", "complex64", "complex128"],
    *["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
)


def save(prefix: Path, tensors: dict[str, Any]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


def bundle(prefix: Path) -> Bundle:
    return Bundle(File(f"{prefix}{INDEX}"), File(f"{prefix}{DATA}"))


def test_reads_what_tensorflow_writes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tensors: dict[str, Any] = {"metadata": "z\0ä" * 999}
    for kind in TYPES:
        for shape in ((), (0,), (2, 0, 3), (1,), (7, 5)):
            values = tf.cast(random.uniform(0, 2, shape), kind)
            tensors[f"{kind}/{'x'.join(map(str, shape))}"] = values
    tensors |= {f"layer_{index}/weights": np.float32(index) for index in range(900)}
    save(tmp_path / "a", tensors)
    read = bundle(tmp_path / "a")
    assert sorted(read.entries) == sorted(tensors)
    assert read.text("metadata").decode() == tensors.pop("metadata")
    for name, value in tensors.items():
        expected = np.asarray(tf.constant(value).numpy())
        found = read.array(name)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="none is missing"):
        read.array("none")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pristine")
    saved(directory, 9)
    return directory


def forge(
    pristine: Path, target: Path, index: bytes | None = None, **metadata: Any
) -> RunDirectory:
    """Writes a checkpoint with valid checksums.

    Args:
        pristine: a run.
        target: directory of the forged one.
        index: replaces its index.
        **metadata: replace fields of its metadata; a field that is ... is removed.
    """
    here = pristine / "model.ckpt-9", target / "model.ckpt-9"
    read = bundle(here[0])
    fields = {**json.loads(read.text("metadata")), **metadata}
    fields = {name: value for name, value in fields.items() if value is not ...}
    values = {n: read.array(n) for n in read.entries if n != "metadata"}
    save(here[1], {**values, "metadata": json.dumps(fields)})
    if index is not None:
        Path(f"{here[1]}{INDEX}").write_bytes(index)
    sums = [
        f"{hashlib.sha256(Path(f'{here[1]}{suffix}').read_bytes()).hexdigest()}"
        f"  model.ckpt-9{suffix}\n"
        for suffix in (DATA, INDEX)
    ]
    Path(f"{here[1]}{SUMS}").write_text("".join(sums))
    return RunDirectory(target)


@settings(max_examples=300)
@given(data=st.data())
def test_a_forged_index_is_an_input_error(
    pristine: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray((pristine / "model.ckpt-9.index").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(begin, min(begin + 8, len(content))))
        content[begin:end] = data.draw(st.binary(max_size=10))
    directory = forge(pristine, tmp_path, bytes(content))
    try:
        found = format.latest(directory)
        assert found
        # What it may be: other names, places or shapes, none outside the file.
        variables = {
            name: tf.Variable(tf.zeros(shape)) for name, shape in found.shapes.items()
        }
        found.restore(variables)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({"offset": 5}, "outside the data file"),
        ({"offset": -1}, "outside the data file"),
        ({"size": -1}, "outside the data file"),
        ({"shape": [2]}, "of another size than its shape says"),
        ({"shape": [2**40, 2**40]}, "of another size than its shape says"),
        ({"shape": [-1, -1]}, "no valid shape"),
        ({"shape": [1] * 33}, "no valid shape"),
        ({"shard_id": 1}, "in another file"),
        ({"dtype": 20}, "of type resource"),
        ({"dtype": 999}, "no type 999"),
    ],
)
def test_forged_places_and_shapes_are_refused(
    fields: dict[str, Any], reported: str
) -> None:
    forged = {"dtype": 1, "shape": [], "offset": 4, "size": 4, **fields}
    shape = tf.TensorShape(None).as_proto()
    shape.unknown_rank = False
    for size in forged.pop("shape"):
        shape.dim.add(size=size)
    entry = tensor_bundle_pb2.BundleEntryProto(shape=shape, **forged)
    with pytest.raises(ValueError, match=reported):
        reader._entry(entry.SerializeToString(), data_size=8)


def test_an_index_of_any_size_is_not_read(tmp_path: Path) -> None:
    for suffix in (INDEX, DATA):
        (tmp_path / f"a{suffix}").touch()
    os.truncate(tmp_path / f"a{INDEX}", 1 << 40)
    with pytest.raises(ValueError, match="too large"):
        bundle(tmp_path / "a")


@pytest.mark.parametrize(
    ("shape", "dtype", "reported"),
    [([8, 8], "float32", "is not of shape"), ([784, 8], "int32", "is not of type")],
)
def test_values_of_another_form_are_refused(
    pristine: Path, shape: list[int], dtype: str, reported: str
) -> None:
    variables = {"hidden1/weights": tf.Variable(tf.zeros(shape, dtype))}
    with pytest.raises(InputError, match=f"hidden1/weights {reported}"):
        format.Checkpoint(str(pristine / "model.ckpt-9")).restore(variables)


def test_names_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    entries = bytearray(b"\0\0\4\x08\1\x1a\0")
    for size in range(200_000):
        entries += _varint(size) + b"\1\4a\x08\1(\4"  # a float
    block = bytes(entries) + bytes(4)
    place = b"\0" + _varint(len(block))
    top = b"\0\1" + _varint(len(place)) + b"z" + place + bytes(4)
    at = len(block) + 5
    footer = (b"\0\0" + _varint(at) + _varint(len(top))).ljust(40, b"\0")
    magic = bytes.fromhex("57fb808b247547db")
    content = block + bytes(5) + top + bytes(5) + footer + magic
    (tmp_path / f"a{INDEX}").write_bytes(content)
    (tmp_path / f"a{DATA}").write_bytes(bytes(8))
    with pytest.raises(ValueError, match="too long"):
        bundle(tmp_path / "a")


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


@pytest.mark.parametrize(
    "metadata",
    [
        {"step": None},
        {"step": -1},
        {"step": ...},
        {"step": 2**70},
        {"consumed": "5"},
        {"config": None},
        {"config": [1]},
        {"config": {"hidden1": "x"}},
        {"config": {"hidden1": 10**30}},
        {"config": {"log_every": None}},
        {"config": {"model": "a\0b"}},
        {"config": {"model": 5}},
        {"dataset": None},
        {"dataset": {"name": "fake"}},
        {"spec": 7},
        {"spec": {"feature_shape": [2**40, 2**40], "num_classes": None}},
        {"spec": {"feature_shape": [-1]}},
        {"spec": {"feature_shape": [4], "num_classes": 10**12}},
        {"spec": {"feature_shape": [4], "feature_mean": [1.0, 2.0]}},
        {"size": "two"},
        {"ramp": [1]},
        {"ramp": [1, float("nan"), 2]},
        {"spec": {"feature_shape": [4], "feature_dtype": "int64"}},
        {"own_network": "no"},
        {"directory": 1},
        {"config": {"hidden1": 2**31}},
        {"config": {"model": "cnn"}},
    ],
)
def test_forged_metadata_are_an_input_error(
    pristine: Path, tmp_path: Path, metadata: dict[str, Any]
) -> None:
    forge(pristine, tmp_path, **metadata)
    with pytest.raises(InputError) as caught:
        inference.load_predictor(inference.find(str(tmp_path), Cluster()), Cluster())
    assert "model.ckpt-9" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_of_version_0_1_are_read(pristine: Path, tmp_path: Path) -> None:
    forge(pristine, tmp_path, spec=..., own_network=..., directory=..., later=1)
    saved = inference.find(str(tmp_path), Cluster())
    assert saved.spec.feature_shape == (28, 28, 1)
    inference.load_predictor(saved, Cluster())


def test_code_and_servers_are_not_the_checkpoints_choice(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "evil.py"
    module.write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    cluster = Cluster()
    forge(pristine, tmp_path, config={"model": "evil:Network"})
    with pytest.raises(InputError, match="give --model=evil:Network, if you trust it"):
        inference.load(inference.find(str(tmp_path), cluster), cluster)
    forge(pristine, tmp_path, config={"dataset": "evil:data"})
    with pytest.raises(InputError, match="give --dataset=evil:data, if you trust it"):
        training_data.load(inference.find(str(tmp_path), cluster), cluster)
    # A local server would be asked, and a directory created.
    url = {"dataset": "http://127.0.0.1:9/data", "local_dir": str(tmp_path / "new")}
    forge(pristine, tmp_path, config=url)
    message = (
        "give --dataset=http://127.0.0.1:9/data --local_dir=DIRECTORY, if you trus"
    )
    for local_dir in ("", str(tmp_path / "mine")):
        with pytest.raises(InputError, match=message):
            training_data.load(
                inference.find(str(tmp_path), cluster), cluster, local_dir=local_dir
            )
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "mine").exists()
    mirrors = {"dataset": "mnist", "mnist_mirrors": ["http://127.0.0.1:9"]}
    mirrors["input_data_dir"] = str(tmp_path / "new")
    data = {"name": "mnist", "source": "", "fingerprint": ""}
    forge(pristine, tmp_path, config=mirrors, dataset=data)
    with pytest.raises(InputError, match="or give the --input_data_dir"):
        training_data.load(inference.find(str(tmp_path), cluster), cluster)
    assert not (tmp_path / "new").exists()


def test_what_is_pruned_meanwhile_can_still_be_read(
    pristine: Path, tmp_path: Path
) -> None:
    forge(pristine, tmp_path)
    cluster = Cluster()
    saved = inference.find(str(tmp_path), cluster)
    format.delete(saved.path)
    inference.load_predictor(saved, cluster)


def test_a_newer_one_is_taken_if_the_newest_is_pruned_meanwhile(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = forge(pristine, tmp_path)
    path = str(tmp_path / "model.ckpt-9")

    class Pruned(format.Checkpoint):
        def __init__(self, name: str):
            if name == path:  # a training goes on, and is faster
                saved(tmp_path, 11)
                format.delete(path)
            super().__init__(name)

    monkeypatch.setattr(format, "Checkpoint", Pruned)
    found = format.latest(directory)
    assert found and found.path.endswith("-11")


def test_nothing_waits_for_a_pipe(pristine: Path, tmp_path: Path) -> None:
    directory = forge(pristine, tmp_path)
    (tmp_path / "model.ckpt-9.sha256").unlink()
    os.mkfifo(tmp_path / "model.ckpt-9.sha256")
    with pytest.raises(InputError, match=r"damaged \(not a regular file\)"):
        format.latest(directory)
