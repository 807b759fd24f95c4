"""Training from Python with objects: the same as by the command line with names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from distmnist.checkpoint import format
from distmnist.core.run_directory import RunDirectory
from tests import launching
from tests.fit_program import FLAGS


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


def values(directory: RunDirectory) -> dict[str, np.ndarray]:
    """Returns the variables of the newest checkpoint."""
    import tensorflow as tf

    found = format.latest(directory)
    assert found
    reader = tf.train.load_checkpoint(found.path)
    names = set(reader.get_variable_to_shape_map()) - {"metadata"}
    return {name: reader.get_tensor(name) for name in sorted(names)}
