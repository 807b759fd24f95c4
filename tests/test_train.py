"""distmnist.train: one process, several ranks under each launcher, wrong input."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from distmnist import train
from distmnist.checkpoint.manager import CheckpointManager
from distmnist.core.errors import InputError
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.connect import connect
from distmnist.distributed.watchdog import watchdog
from distmnist.metrics.jsonl import JsonLinesWriter
from distmnist.trainer import Trainer
from tests.launching import HOROVODRUN, HOROVODRUN_GLOO, MPIRUN, TRAIN, messages, run

QUICK = ("--dataset=digits", "--max_steps=20", "--batch_size=20", "--log_every=10")


pytestmark = pytest.mark.usefixtures("threads_are_chosen")


def main(
    capsys: pytest.CaptureFixture[str], *flags: object
) -> tuple[int, str, list[str]]:
    """Runs the program in this process.

    Returns:
        Its exit status, its standard output, and its messages.
    """
    status: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *map(str, flags)])
        try:
            train.main()
        except SystemExit as end:
            status = end.code
    captured = capsys.readouterr()
    return int(str(status or 0)), captured.out, messages(captured.err)


def write_idx(path: Path, array: np.ndarray, magic: int) -> None:
    header = np.array([magic, *array.shape], ">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_data(directory: Path, seed: int = 0) -> Path:
    """Writes a small data set in MNIST's form."""
    directory.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for name, count in (("train", 240), ("t10k", 50)):
        images = random.randint(0, 256, (count, 28, 28))
        write_idx(directory / f"{name}-images-idx3-ubyte.gz", images, 2051)
        labels = random.randint(0, 10, count)
        write_idx(directory / f"{name}-labels-idx1-ubyte.gz", labels, 2049)
    return directory


# --- One process.


def test_trains_and_continues(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    flags = (*QUICK, f"--log_dir={tmp_path}")
    status, out, _ = main(capsys, *flags, "--eval_every=10", "--checkpoint_every=0")
    assert status == 0
    assert out.count("Step ") == 2
    assert out.count("Test Data Eval:\n  Num examples: 300  Num correct: ") == 2
    files = {path.name for path in tmp_path.iterdir()}
    assert {"model.ckpt-20.index", "metrics.jsonl"} < files
    assert "model.ckpt-10.index" not in files

    status, out, _ = main(capsys, *flags)
    assert (status, out) == (0, "")
    last = caplog.messages[-1]
    assert last.startswith(
        f"Nothing left to train: the run in {tmp_path} has completed"
    )
    assert last.endswith("give another --log_dir, or --restart")

    status, out, _ = main(capsys, *flags, "--max_steps=30")
    assert status == 0
    assert out.startswith("Step 30: loss")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert steps == [10, 20, 30]

    status, out, _ = main(capsys, *flags, "--restart")
    assert status == 0
    assert out.startswith("Step 10: loss")


def test_num_epochs_replaces_max_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--fake_data", "--fake_sizes=100,10,10", "--batch_size=30")
    status, out, _ = main(capsys, *flags, "--num_epochs=2", f"--log_dir={tmp_path}")
    assert status == 0
    assert "Step 7: loss" in out  # 200 examples, the last step a full one
    assert "Step 8" not in out


def test_learns_the_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, _ = main(
        capsys, "--dataset=digits", "--num_epochs=40", f"--log_dir={tmp_path}"
    )
    assert status == 0
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["split"] == "test"
    assert last["precision"] > 0.9


@pytest.mark.parametrize(
    "flags",
    [
        ("--bogus",),
        ("--batch_size=0",),
        ("--learning_rate=-1",),
        ("--model=rnn",),
        ("--dataset=mnist", "--input_data_dir=EMPTY", "--mnist_mirrors=file:///no"),
        ("--dataset=digits", "--log_dir=FILE"),
    ],
)
def test_bad_input_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    (tmp_path / "FILE").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        status, out, reported = main(capsys, *flags)
    assert (status, out, len(reported)) == (2, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign", "label", "counts"])
def test_bad_data_are_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    data = write_data(tmp_path / "data")
    labels = data / "train-labels-idx1-ubyte.gz"
    if damage == "empty":
        labels.write_bytes(b"")
    elif damage == "truncated":
        os.truncate(labels, 40)
    elif damage == "foreign":
        labels.write_text("<html>not found</html>")
    elif damage == "label":
        write_idx(labels, np.full(240, 11), 2049)
    elif damage == "counts":
        write_idx(labels, np.full(239, 1), 2049)
    flags = (f"--input_data_dir={data}", f"--log_dir={tmp_path / 'logs'}")
    status, out, reported = main(capsys, *flags)
    assert (status, out, len(reported)) == (2, "", 1)
    assert "train-labels-idx1-ubyte.gz" in reported[0]
    assert not (tmp_path / "logs").exists()


def test_another_network_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*QUICK, f"--log_dir={tmp_path}")
    main(capsys, *flags, "--hidden1=16")
    status, _, reported = main(capsys, *flags, "--hidden1=8")
    assert status == 2
    assert "--hidden1 is 16 there, 8 here" in reported[0]


def test_a_bug_shows_its_traceback(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bug(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("distmnist.trainer.Trainer", bug)
    monkeypatch.setattr(sys, "argv", ["train", *QUICK])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_secrets_that_others_can_read_are_warned_of(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
    monkeypatch.setenv("MY_TOKEN", "12345")
    assert main(capsys, *QUICK, "--max_steps=1", f"--log_dir={tmp_path}")[0] == 0
    assert re.search("Every user of this machine can read .*MY_TOKEN", caplog.text)
    assert "12345" not in caplog.text


def test_the_watchdog_knows_what_a_rank_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: dict[str, str] = {}

    def record(owner: type, name: str) -> None:
        function = getattr(owner, name)

        def recorded(*arguments: object) -> object:
            phases.setdefault(f"{owner.__name__}.{name}", watchdog._phases[-1][0])
            return function(*arguments)

        monkeypatch.setattr(owner, name, recorded)

    record(Cluster, "broadcast_variables")
    record(CheckpointManager, "restore")
    record(CheckpointManager, "save")
    record(CheckpointManager, "save_best")
    record(CheckpointManager, "wait")
    record(JsonLinesWriter, "train")
    record(JsonLinesWriter, "evaluation")
    record(Trainer, "train_block")
    assert main(capsys, *QUICK, f"--log_dir={tmp_path}")[0] == 0
    assert phases == {
        "CheckpointManager.restore": "restoring a checkpoint",
        "Cluster.broadcast_variables": "restoring a checkpoint",
        "Trainer.train_block": "training",
        "JsonLinesWriter.train": "writing metrics",
        "JsonLinesWriter.evaluation": "writing metrics",
        "CheckpointManager.save_best": "saving a checkpoint",
        "CheckpointManager.save": "saving a checkpoint",
        "CheckpointManager.wait": "saving",
    }


def test_several_ranks_need_horovod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # as if not installed
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    with pytest.raises(InputError, match=r"2 ranks.*launch/setup\.sh"):
        connect()
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setattr("distmnist.distributed.connect._REPORT_SECONDS", 0)
    with pytest.raises(SystemExit) as end:  # reported once, by rank 0
        connect()
    assert end.value.code == 2


def test_one_process_needs_no_horovod(tmp_path: Path) -> None:
    # A fresh interpreter, in which Horovod and mpi4py can't be imported.
    program = (
        "import sys; sys.modules['horovod'] = sys.modules['mpi4py'] = None;"
        "from distmnist import train; train.main()"
    )
    command = (sys.executable, "-c", program, *QUICK)
    done = run(command, cwd=tmp_path)
    assert "Step 20: loss" in done.stdout
    assert "Test Data Eval:" in done.stdout
    # Only rank 0's own log: none of TensorFlow's messages.
    ours = re.compile(r"I\d{4} .*(train|loading|console)\.py:\d+\] ")
    assert all(ours.match(line) for line in done.stderr.splitlines()), done.stderr


# --- Several ranks.


@pytest.mark.ranks
@pytest.mark.parametrize(
    "launcher",
    [(*MPIRUN, 2), (*HOROVODRUN, 2), (*HOROVODRUN_GLOO, 2)],
    ids=["mpirun", "horovodrun", "horovodrun-gloo"],
)
def test_a_wrong_flag_ends_every_rank(
    tmp_path: Path, launcher: tuple[object, ...]
) -> None:
    done = run((*launcher, *TRAIN, "--batch_size=0"), 2, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    (reported,) = messages(done.stderr)
    assert reported == "distmnist: flag --batch_size=0: must be at least 1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", [MPIRUN, HOROVODRUN], ids=["mpirun", "horovodrun"])
def test_pythons_without_pidfd_open_start(
    tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    # Those of uv and conda.
    program = "import os; del os.pidfd_open;from distmnist import train; train.main()"
    command = (*launcher, 2, sys.executable, "-c", program, *QUICK)
    assert "Step 20: loss" in run(command, cwd=tmp_path).stdout


def per_rank(*flags: str) -> tuple[object, ...]:
    """Returns a command of two ranks, whose flags and directories differ."""
    mine, other = flags
    command = ("mpirun", "-np", 1, "-wdir", "rank0", *TRAIN, *QUICK, *mine.split())
    return (
        *command,
        *(":", "-np", 1, "-wdir", "rank1", *TRAIN, *QUICK, *other.split()),
    )


@pytest.fixture
def rank_directories(tmp_path: Path) -> Path:
    """A directory with one for each rank to work in."""
    for rank in range(2):
        (tmp_path / f"rank{rank}").mkdir()
    return tmp_path


@pytest.mark.ranks
def test_ranks_with_different_flags_end(rank_directories: Path) -> None:
    command = per_rank("--seed=1", "--seed=2")
    (reported,) = messages(run(command, 2, cwd=rank_directories).stderr)
    assert "flag --seed differs between ranks: 1 on rank 0, 2 on rank 1" in reported


@pytest.mark.ranks
def test_a_wrong_flag_on_one_rank_ends_all(rank_directories: Path) -> None:
    command = per_rank("--seed=1", "--seed=-1")
    (reported,) = messages(run(command, 2, cwd=rank_directories).stderr)
    assert "flag --seed=-1: must be" in reported
    assert "(rank 1, on " in reported


@pytest.mark.ranks
def test_data_missing_on_one_host_end_all(rank_directories: Path) -> None:
    write_data(rank_directories / "rank0/data")
    (rank_directories / "rank1/data").mkdir()
    # The first rank of a host makes the data present: the second does not try.
    flags = "--dataset=mnist --input_data_dir=data"
    done = run(per_rank(flags, flags), 2, cwd=rank_directories)
    (reported,) = messages(done.stderr)
    assert "MNIST is not complete" in reported
    assert "(rank 1, on " in reported


@pytest.mark.ranks
def test_ranks_with_different_data_end(rank_directories: Path) -> None:
    for rank in range(2):
        write_data(rank_directories / f"rank{rank}/data", seed=rank)
    flags = "--dataset=mnist --input_data_dir=data"
    done = run(per_rank(flags, flags), 2, cwd=rank_directories)
    (reported,) = messages(done.stderr)
    assert "the data set differs between ranks" in reported
    assert "on rank 1; give all hosts the same files" in reported


@pytest.mark.ranks
def test_another_network_ends_all_ranks(tmp_path: Path) -> None:
    command = (*MPIRUN, 2, *TRAIN, *QUICK)
    run((*command, "--hidden1=16"), cwd=tmp_path)
    (reported,) = messages(run((*command, "--hidden1=8"), 2, cwd=tmp_path).stderr)
    assert "--hidden1 is 16 there, 8 here" in reported


@pytest.mark.ranks
def test_a_failure_on_one_rank_in_mid_run_ends_all(tmp_path: Path) -> None:
    # Rank 0 fails to write a checkpoint, while rank 1 goes on to the next step.
    program = (
        "from distmnist import train\n"
        "from distmnist.checkpoint import format\n"
        "from distmnist.core import errors\n"
        "def write(path, *rest): raise errors.RunError(f'{path}: the disk is full')\n"
        "format.write = write\n"
        "train.main()"
    )
    command = (*MPIRUN, 2, sys.executable, "-c", program, *QUICK)
    done = run((*command, "--checkpoint_every=10"), 1, cwd=tmp_path)
    (reported,) = messages(done.stderr)
    assert "model.ckpt-10: the disk is full (rank 0 on " in reported


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        ("OMPI_COMM_WORLD", "a launcher started 2 ranks, but Horovod sees 1"),
        ("PMI", "the mpiexec of MPICH or Intel MPI started 2 ranks, but Horovod"),
    ],
)
def test_ranks_that_do_not_find_each_other_end(
    tmp_path: Path, foreign: str, message: str
) -> None:
    # What a foreign mpirun does: each rank runs as a single process.
    env = {f"{foreign}_SIZE": "2", f"{foreign}_RANK": "0", "OPAL_PREFIX": sys.prefix}
    done = run((*TRAIN, *QUICK), 2, cwd=tmp_path, env=env)
    (reported,) = messages(done.stderr)
    assert message in reported


@pytest.mark.ranks
def test_xla_and_accumulation_on_two_ranks_compute_what_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--dataset=digits", "--max_steps=10", "--lr_scaling=none")
    one, two = tmp_path / "one", tmp_path / "two"
    main(capsys, *flags, "--batch_size=24", f"--log_dir={one}")
    faster = ("--xla", "--backward_passes_per_step=3", "--batch_size=4")
    measured = ("--profile=2,3",)
    command = (*MPIRUN, 2, *TRAIN, *flags, *faster, *measured, f"--log_dir={two}")
    assert "communication" in run(command, cwd=tmp_path).stderr
    assert_same_parameters(one / "model.ckpt-10", two / "model.ckpt-10")


@pytest.mark.ranks
def test_a_run_continues_with_another_number_of_ranks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--dataset=digits", "--lr_scaling=none")
    one, several = tmp_path / "one", tmp_path / "several"
    main(capsys, *flags, "--batch_size=24", "--max_steps=10", f"--log_dir={one}")
    for size, steps in ((2, 4), (3, 10)):
        share = (f"--batch_size={24 // size}", f"--max_steps={steps}")
        command = (*MPIRUN, size, *TRAIN, *flags, *share, f"--log_dir={several}")
        run(command, cwd=tmp_path)
    assert_same_parameters(one / "model.ckpt-10", several / "model.ckpt-10")


def assert_same_parameters(*paths: Path) -> None:
    """Asserts that two checkpoints hold the same network, up to rounding."""
    readers = [tf.train.load_checkpoint(str(path)) for path in paths]
    for name in ("hidden1/weights", "hidden2/weights", "softmax_linear/biases"):
        expected, found = (reader.get_tensor(name) for reader in readers)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
