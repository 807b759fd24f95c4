"""The kinds of files that the programs read: how each is changed, and then read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests import launching
from tests.data.own_data import picture, save_images
from tests.faults import mutations

Run = Callable[[], object]
"""Reads the changed file, as a program does."""

DATA, INDEX, SUMS = ".data-00000-of-00001", ".index", ".sha256"
_FLAGS = "--dataset=digits --hidden1=16 --hidden2=8 --log_every=10 --eval_every=15"


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        change: writes a changed file to a directory, from pristine ones; returns what
            reads it.
        count: how many are tried.
    """

    change: Callable[[random.Random, Path, Path], Run]
    count: int


def prepare(directory: Path) -> None:
    """Writes the pristine files of all kinds: a run, images, data sets."""
    run = (*launching.TRAIN, *_FLAGS.split(), "--checkpoint_every=15")
    launching.run((*run, "--max_steps=30", "--log_dir=run"), cwd=directory)
    picture(1, (40, 30, 3)).save(directory / "image.jpg")
    for index, mode in enumerate(("L", "RGB", "RGBA", "P", "1", "LA")):
        picture(1, (30, 28, 3)).convert(mode).save(directory / f"image{index}.png")
    random = np.random.RandomState(0)
    arrays = {
        "x_train": random.randint(0, 256, (40, 4, 3, 3)).astype(np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": random.randint(0, 256, (8, 4, 3, 3)).astype(np.uint8),
        "y_test": np.arange(8) % 4,
    }
    np.savez(directory / "a.npz", **arrays)
    np.savez_compressed(directory / "b.npz", **arrays)
    (directory / "npy").mkdir()
    for name, array in arrays.items():
        np.save(directory / "npy" / f"{name}.npy", array)
    rows = [f"{a:.3f},{b},{'xy'[b % 2]}" for a, b in enumerate(range(40))]
    (directory / "a.csv").write_text("\n".join(["size,count,kind", *rows]) + "\n")
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"size": random.rand(40), "kind": ["x", "y"] * 20, "n": np.arange(40)}
    parquet.write_table(pa.table(columns), directory / "a.parquet")
    save_images(directory / "images", count=10)
    for name, compression in (("prepared", "none"), ("prepared-zlib", "zlib")):
        prepare = (sys.executable, "-m", "distmnist.prepare", "images", name)
        launching.run((*prepare, f"--compression={compression}"), cwd=directory)
    (directory / "idx").mkdir()
    for name, size in (("train", 40), ("t10k", 8)):
        header = np.array([2051, size, 6, 5], ">i4").tobytes()
        pixels = random.bytes(size * 30)
        (directory / f"idx/{name}-images-idx3-ubyte").write_bytes(header + pixels)
        header = np.array([2049, size], ">i4").tobytes()
        labels = bytes(index % 4 for index in range(size))
        (directory / f"idx/{name}-labels-idx1-ubyte").write_bytes(header + labels)


def prepare_process() -> None:
    """Imports the programs; threads are chosen once only, by TensorFlow itself."""
    from distmnist import evaluate, export, predict, report, train  # noqa: F401
    from distmnist.distributed import devices, launchers, process

    process.prepare_environment(launchers.single_process({}))
    devices.import_tensorflow()
    devices.configure_tensorflow = lambda *_: None


def _program(name: str, *flags: str) -> Run:
    """Returns a call of a program."""

    def run() -> None:
        sys.argv = [name, *flags]
        sys.modules[f"distmnist.{name}"].main()

    return run


def _reader(rng: random.Random, here: Path) -> Run:
    """Returns one of the programs that read a run."""
    log_dir = f"--log_dir={here / 'run'}"
    name = rng.choice(("evaluate", "predict", "export", "report", "train"))
    if name == "predict":
        return _program(name, log_dir, str(launching.ROOT / "examples/digit.png"))
    if name == "export":
        return _program(name, log_dir, f"--export_dir={here / 'exported'}")
    if name == "train":
        return lambda: _resume(here)
    return _program(name, log_dir)


def _resume(here: Path) -> None:
    """Does what a training does at its start."""
    from distmnist.checkpoint.manager import CheckpointManager
    from distmnist.core.config import Config
    from distmnist.data.sources.digits import Digits
    from distmnist.distributed.cluster import Cluster
    from distmnist.models.mlp import Mlp

    config = Config(dataset="digits", hidden1=16, hidden2=8, log_dir=str(here / "run"))
    dataset = Digits(config).load()
    variables = Mlp(config, dataset.spec).named_variables
    with CheckpointManager(config, Cluster(), dataset, variables) as manager:
        manager.restore()


def _copy_run(rng: random.Random, directory: Path, here: Path) -> Path:
    """Copies the run, mostly without its older checkpoint; returns the newer."""
    shutil.copytree(directory / "run", here / "run")
    if rng.randrange(4):
        for path in (here / "run").glob("model.ckpt-15*"):
            path.unlink()
    return here / "run/model.ckpt-30"


def _sign(checkpoint: Path) -> None:
    """Makes the checksums of a checkpoint right."""
    sums = [
        f"{hashlib.sha256(Path(f'{checkpoint}{suffix}').read_bytes()).hexdigest()}"
        f"  {checkpoint.name}{suffix}\n"
        for suffix in (DATA, INDEX)
    ]
    Path(f"{checkpoint}{SUMS}").write_text("".join(sums))


def _checkpoint_bytes(suffix: str, sign: bool) -> Callable[..., Run]:
    def change(rng: random.Random, directory: Path, here: Path) -> Run:
        checkpoint = _copy_run(rng, directory, here)
        path = Path(f"{checkpoint}{suffix}")
        path.write_bytes(mutations.change_bytes(rng, path.read_bytes()))
        if sign:
            _sign(checkpoint)
        return _reader(rng, here)

    return change


def _checkpoint_files(rng: random.Random, directory: Path, here: Path) -> Run:
    """Removes files, or puts others into their place."""
    checkpoint = _copy_run(rng, directory, here)
    for suffix in rng.sample((DATA, INDEX, SUMS), rng.choice((1, 1, 2))):
        path = Path(f"{checkpoint}{suffix}")
        path.unlink()
        kind = rng.randrange(6)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            path.symlink_to(path.name)
        elif kind == 2:
            os.mkfifo(path)
        elif kind == 3:
            path.symlink_to("/dev/zero")
        elif kind == 4:
            path.touch()
    return _reader(rng, here)


def _index_entries(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes what the index says of a tensor."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    from distmnist.checkpoint import reader

    checkpoint = _copy_run(rng, directory, here)
    path = Path(f"{checkpoint}{INDEX}")
    entries = dict(reader._table(path.read_bytes()))
    numbers = (0, 1, 7, 16, 255, 2**20, 2**31, 2**40, 2**62, 2**63 - 1, -1)
    for _ in range(rng.choice((1, 1, 3))):
        key = rng.choice(list(entries))
        if not key:
            header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries[key])
            header.num_shards = rng.choice((0, 1, 2, -1, 2**31 - 1))
            header.version.min_consumer = rng.choice((0, 1, 2))
            entries[key] = header.SerializeToString()
            continue
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[key])
        field = rng.choice(("dtype", "offset", "size", "shard_id", "shape", "slices"))
        if field == "shape":
            del entry.shape.dim[:]
            for _ in range(rng.choice((0, 1, 2, 40))):
                entry.shape.dim.add(size=rng.choice(numbers))
        elif field == "slices":
            entry.slices.add()
        elif field == "dtype":
            entry.dtype = rng.choice((0, 1, 2, 7, 9, 14, 20, 21, 29, 101, 999))
        else:
            number = rng.choice(numbers)
            setattr(entry, field, number % 2**31 if field == "shard_id" else number)
        name = rng.choice((key, key, key, b"metadata", rng.randbytes(5)))
        entries[name] = entry.SerializeToString()
        if not rng.randrange(8):
            entries.pop(key, None)
    path.write_bytes(mutations.table(entries))
    _sign(checkpoint)
    return _reader(rng, here)


def _metadata(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes the metadata of a checkpoint."""
    import tensorflow as tf

    checkpoint = _copy_run(rng, directory, here)
    reader = tf.train.load_checkpoint(str(checkpoint))
    names = reader.get_variable_to_shape_map()
    tensors = {name: reader.get_tensor(name) for name in names}
    values = mutations.change_json(rng, json.loads(tensors["metadata"]))
    text = json.dumps(values).encode()
    if not rng.randrange(8):
        text = mutations.change_bytes(rng, text)
    tensors["metadata"] = text
    tf.raw_ops.SaveV2(
        prefix=str(checkpoint),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    _sign(checkpoint)
    return _reader(rng, here)


def _metrics(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes lines of metrics.jsonl."""
    _copy_run(rng, directory, here)
    path = here / "run/metrics.jsonl"
    if not rng.randrange(4):
        path.write_bytes(mutations.change_bytes(rng, path.read_bytes()))
    else:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for _ in range(rng.choice((1, 2))):
            at = rng.randrange(len(lines))
            lines[at] = mutations.change_json(rng, lines[at])
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    if not rng.randrange(3):
        return lambda: _resume(here)
    flags = [f"--png_dir={here / 'png'}"] if not rng.randrange(8) else []
    return _program("report", f"--log_dir={here / 'run'}", *flags)


def _events(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes an event file, which is read when a run is resumed."""
    _copy_run(rng, directory, here)
    path = rng.choice(sorted((here / "run").rglob("events.*")))
    path.write_bytes(mutations.change_bytes(rng, path.read_bytes()))
    return lambda: _resume(here)


def _flag_file(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes flags.txt, and reads it as a flag file."""
    text = (directory / "run/flags.txt").read_text()
    (here / "flags.txt").write_bytes(mutations.change_text(rng, text))

    def run() -> None:
        from distmnist.core import flags
        from distmnist.core.config import Config

        flags.parse(Config, ["train", f"--flagfile={here / 'flags.txt'}"], "")

    return run


def _image(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes an image, and predicts its digit."""
    path = rng.choice(sorted(directory.glob("image*.*")))
    content, kind = path.read_bytes(), rng.randrange(4)
    if path.suffix == ".png" and kind:
        content = mutations.change_png(rng, content)
    elif kind:
        content = mutations.change_bytes(rng, content)
    else:
        names = ("BMP", "GIF", "TIFF", "EPS", "PDF", "PPM", "TGA", "ICO", "WEBP")
        file = io.BytesIO()
        picture().save(file, rng.choice(names))
        content = file.getvalue()
    (here / path.name).write_bytes(content)
    options = rng.choice(((), ("--nopreprocess",)))
    log_dir = f"--log_dir={directory / 'run'}"
    return _program("predict", log_dir, *options, str(here / path.name))


def _examples(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes an array or IDX file, and predicts its examples."""
    if rng.randrange(2):
        file = io.BytesIO()
        np.save(file, np.zeros((2, 28, 28, 1), np.uint8))
        name, content = "a.npy", file.getvalue()
    else:
        header = np.array([2051, 2, 28, 28], ">i4").tobytes()
        name, content = "a", header + bytes(2 * 784)
    (here / name).write_bytes(
        mutations.change_bytes(rng, content[:200]) + content[200:]
    )
    return _program("predict", f"--log_dir={directory / 'run'}", str(here / name))


def _load(path: Path, **flags: Any) -> Run:
    from tests.data import own_data

    return lambda: own_data.load(path, **flags)


def _file(name: str, **flags: Any) -> Callable[..., Run]:
    """Returns what changes the bytes of a data set in one file."""

    def change(rng: random.Random, directory: Path, here: Path) -> Run:
        content = (directory / name).read_bytes()
        text = name.endswith(".csv")
        (here / name).write_bytes(
            mutations.change_text(rng, content.decode())
            if text
            else mutations.change_bytes(rng, content)
        )
        return _load(here / name, **flags)

    return change


def _directory(name: str) -> Callable[..., Run]:
    """Returns what changes a file of a data set in a directory."""

    def change(rng: random.Random, directory: Path, here: Path) -> Run:
        shutil.copytree(directory / name, here / name)
        path = rng.choice([p for p in sorted((here / name).rglob("*")) if p.is_file()])
        content = path.read_bytes()
        head = rng.choice((16, 128, len(content)))
        changed = mutations.change_bytes(rng, content[:head]) + content[head:]
        if path.suffix == ".png" and rng.randrange(2):
            changed = mutations.change_png(rng, content)
        path.write_bytes(changed)
        if not rng.randrange(6):
            other = rng.choice((".npy", ".png", "", "\n.csv", "é"))
            path.rename(path.with_name(path.stem + other))
        return _load(here / name)

    return change


def _archive(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes an array in an archive, whose checksums are right."""
    with zipfile.ZipFile(directory / "a.npz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(parts))
    parts[name] = mutations.change_bytes(rng, parts[name][:128]) + parts[name][128:]
    if not rng.randrange(4):
        parts[rng.choice(("x_val.npy", "../x.npy", "x_validation.npy"))] = parts[name]
    with zipfile.ZipFile(here / "a.npz", "w", rng.choice((0, 8, 14))) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return _load(here / "a.npz")


def _hosts(rng: random.Random, directory: Path, here: Path) -> Run:
    """Changes hosts.txt, and discovers hosts as horovodrun does."""
    text = "localhost:2\n# a comment\n127.0.0.1:1\nnode-1.example:16\n"
    (here / "hosts.txt").write_bytes(mutations.change_text(rng, text))

    def run() -> None:
        script = launching.ROOT / "launch/discover_hosts.sh"
        done = subprocess.run(
            [script], env={**os.environ, "HOSTS": str(here / "hosts.txt")},
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        for line in filter(None, done.stdout.decode().strip().split("\n")):
            host, slots = line.split(":")  # as horovodrun does
            assert host and int(slots) > 0

    return run


KINDS = {
    "index-bytes": Kind(_checkpoint_bytes(INDEX, True), 60),
    "index-entries": Kind(_index_entries, 50),
    "data": Kind(_checkpoint_bytes(DATA, True), 30),
    "checksums": Kind(_checkpoint_bytes(SUMS, False), 10),
    "checkpoint-files": Kind(_checkpoint_files, 15),
    "metadata": Kind(_metadata, 70),
    "metrics.jsonl": Kind(_metrics, 50),
    "events": Kind(_events, 15),
    "flags.txt": Kind(_flag_file, 20),
    "images": Kind(_image, 50),
    "examples": Kind(_examples, 20),
    "npz": Kind(_file("a.npz"), 10),
    "npz-compressed": Kind(_file("b.npz"), 10),
    "npz-arrays": Kind(_archive, 15),
    "npy": Kind(_directory("npy"), 20),
    "csv": Kind(_file("a.csv", target="kind"), 25),
    "parquet": Kind(_file("a.parquet", target="kind"), 25),
    "idx": Kind(_directory("idx"), 15),
    "image-folder": Kind(_directory("images"), 20),
    "prepared": Kind(_directory("prepared"), 30),
    "prepared-zlib": Kind(_directory("prepared-zlib"), 30),
    "hosts.txt": Kind(_hosts, 10),
}
"""All kinds, by name."""
