"""Training from Python with objects: the same as by the command line with names."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from distmnist.checkpoint import format
from distmnist.core.run_directory import RunDirectory
from tests import launching
from tests.fit_program import FLAGS
from tests.jobs import Job


@pytest.mark.ranks
@pytest.mark.timeout(300)
def test_fit_and_the_command_line_give_the_same(tmp_path: Path) -> None:
    two = (*launching.MPIRUN, 2)
    names = "--dataset=tests.problems:colors --model=tests.problems:normalized"
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    launching.run(
        (*two, *launching.TRAIN, *names.split(), *flags, "--log_dir=a"), cwd=tmp_path
    )
    program = (sys.executable, "-m", "tests.fit_program", "b")
    stdout = launching.run((*two, *program), cwd=tmp_path).stdout
    for rank in range(2):
        assert f"[1,{rank}]<stdout>:history [5, 10, 15, 20, 25]" in stdout
        assert f"[1,{rank}]<stdout>:same True" in stdout
        assert f"[1,{rank}]<stdout>:predicted (24,)" in stdout
    first, second = (values(RunDirectory(str(tmp_path / name))) for name in ("a", "b"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    # Again: nothing is left, and the names of Keras' layers are the same.
    again = launching.run((*two, *program), cwd=tmp_path)
    assert "history []" in again.stdout
    assert "Nothing left to train" in again.stderr


# Nothing is collected but by `fit` itself.
LOOP = """
import gc, sys, weakref
import numpy as np
from distmnist import Config, create_dataset, fit
gc.disable()
assert "tensorflow" not in sys.modules
def train(name):
    dataset = create_dataset((np.eye(20), np.arange(20) % 2))
    fit(Config(max_steps=1, batch_size=5, log_dir=name), dataset)
    return weakref.ref(dataset)
first = train("a")
second = train("b")
print("kept", first() is not None)
"""


def test_a_fit_does_not_keep_the_data_of_an_earlier_one(tmp_path: Path) -> None:
    done = launching.run((sys.executable, "-c", LOOP), cwd=tmp_path)
    assert done.stdout.endswith("kept False\n")


INTERRUPTED = """
import sys
from distmnist import Config, fit
config = Config(
    dataset="digits", max_steps=10**8, log_every=10, steps_per_call=10, eval_every=0,
    checkpoint_every=0, log_dir=sys.argv[1],
)
try:
    fit(config)
except KeyboardInterrupt:
    print("interrupted", flush=True)
fit(config)
print("trained")
"""


@pytest.mark.ranks
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("launcher", "signals"),
    [
        (launching.PLAIN, (signal.SIGINT, signal.SIGINT)),
        # The first two are what it forwards.
        ((*launching.MPIRUN, 2), (signal.SIGUSR2, signal.SIGUSR1)),
    ],
    ids=["plain", "mpirun"],
)
def test_a_signal_ends_it_with_a_checkpoint(
    tmp_path: Path, launcher: tuple[object, ...], signals: tuple[int, int]
) -> None:
    log_dir = tmp_path / "run"

    def steps(kind: str) -> list[int]:
        try:
            lines = (log_dir / "metrics.jsonl").read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [x["step"] for x in map(json.loads, lines) if x["kind"] == kind]

    program = (*launcher, sys.executable, "-c", INTERRUPTED, log_dir)
    with Job(program, tmp_path) as job:
        for starts, number in enumerate(signals, 1):
            job.wait_for(lambda n=starts: len(steps("start")) == n, 60)
            before = len(steps("train"))
            job.wait_for(lambda n=before: len(steps("train")) > n + 3, 60)
            os.kill(job.pid, number)
        assert job.end(60) == (143 if launcher else -signal.SIGINT), job.output()
        output = job.output()
    ranks = 2 if launcher else 1
    assert output.count("interrupted") == ranks, output
    assert output.count("distmnist: stopped by SIG") == 2, output
    assert "trained" not in output
    assert output.count("Traceback") == (0 if launcher else 1), output
    logged = steps("train")
    assert logged == list(range(10, logged[-1] + 1, 10))
    assert RunDirectory(str(log_dir)).checkpoint_steps()[0] >= logged[-1]


# Another rank waits for this one, in the first collective of its second training.
RAISING = """
import os
from distmnist import Config, fit
fit(Config(dataset="digits", max_steps=10, eval_every=0, log_dir="first"))
if "1" in (os.environ.get("OMPI_COMM_WORLD_RANK"), os.environ.get("HOROVOD_RANK")):
    raise ValueError("of the program")
fit(Config(dataset="digits", max_steps=10, eval_every=0, log_dir="second"))
print("trained")
"""


@pytest.mark.ranks
@pytest.mark.parametrize(
    "launcher", [launching.MPIRUN, launching.HOROVODRUN_GLOO], ids=["mpirun", "Gloo"]
)
def test_an_exception_that_ends_one_rank_ends_the_job(
    tmp_path: Path, launcher: tuple[object, ...]
) -> None:
    program = (*launcher, 2, sys.executable, "-c", RAISING)
    with Job(program, tmp_path) as job:
        assert job.end(60) == 1, job.output()  # the stall limit is minutes
        assert "of the program" in job.output()
        assert "trained" not in job.output()


def values(directory: RunDirectory) -> dict[str, np.ndarray]:
    """Returns the variables of the newest checkpoint."""
    import tensorflow as tf

    found = format.latest(directory)
    assert found
    reader = tf.train.load_checkpoint(found.path)
    names = set(reader.get_variable_to_shape_map()) - {"metadata"}
    return {name: reader.get_tensor(name) for name in sorted(names)}
