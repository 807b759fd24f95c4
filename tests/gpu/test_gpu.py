"""Training on GPUs: on each rank's own, over NCCL, with what a CPU computes."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import launching
from tests.launching import MPIRUN, TRAIN


def count_gpus() -> int:
    """Returns the number of GPUs, 0 without a driver."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False
    )
    return len(re.findall(r"^GPU \d", listed.stdout, re.MULTILINE))


GPUS = count_gpus()
EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}  # products of all bits of float32
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1"}
FLAGS = ("--dataset=digits", "--lr_scaling=none", "--eval_every=0", "--log_every=5")
STEPS = ("--batch_size=24", "--max_steps=20")

# A GPU's kernels are loaded, and compiled, when they are first used.
run = functools.partial(launching.run, timeout=300)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not GPUS, reason="there is no GPU"),
]
several = pytest.mark.skipif(GPUS < 2, reason="NCCL needs a GPU for each rank")


def start(log_dir: Path) -> dict[str, object]:
    """Returns the first line of a run's metrics.jsonl."""
    found: dict[str, object] = json.loads(
        (log_dir / "metrics.jsonl").read_text().splitlines()[0]
    )
    return found


def values(log_dir: Path, step: int = 20) -> dict[str, np.ndarray]:
    """Returns the variables of a checkpoint by name."""
    reader = tf.train.load_checkpoint(str(log_dir / f"model.ckpt-{step}"))
    names = set(reader.get_variable_to_shape_map()) - {"metadata"}
    return {name: reader.get_tensor(name) for name in names}


def assert_close(first: Path, second: Path) -> None:
    """Asserts that two runs ended with the same variables, up to rounding."""
    found, expected = values(first), values(second)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_memory_grows_on_the_gpu_that_is_used(tmp_path: Path) -> None:
    program = (
        "from distmnist.distributed import devices\n"
        "devices.import_tensorflow()\n"
        "import tensorflow as tf\n"
        f"assert devices.choose_gpu({GPUS - 1})\n"
        "(gpu,) = tf.config.get_visible_devices('GPU')\n"
        f"assert gpu.name.endswith(':{GPUS - 1}'), gpu\n"
        "assert tf.config.experimental.get_memory_growth(gpu)\n"
        "x = tf.ones([1000, 1000]) @ tf.ones([1000, 1000])\n"
        "assert 'GPU:0' in x.device, x.device\n"
        "assert tf.config.experimental.get_memory_info('GPU:0')['peak'] < 2**28"
    )
    run((TRAIN[0], "-c", program), cwd=tmp_path)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_gpu_computes_what_a_cpu_does_and_each_resumes_the_other(
    tmp_path: Path, model: str
) -> None:
    flags = (*TRAIN, *FLAGS, f"--model={model}", "--batch_size=24", "--momentum=0.5")
    gpu, cpu, both = tmp_path / "gpu", tmp_path / "cpu", tmp_path / "both"
    run((*flags, "--max_steps=20", f"--log_dir={gpu}"), env=EXACT)
    run((*flags, "--max_steps=20", f"--log_dir={cpu}"), env=ON_CPU)
    assert "CPU of" not in str(start(gpu)["device"])
    assert_close(gpu, cpu)
    for steps, env in ((7, EXACT), (13, ON_CPU), (20, EXACT)):
        run((*flags, f"--max_steps={steps}", f"--log_dir={both}"), env=env)
    assert_close(both, cpu)


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path) -> None:
    flags = (*TRAIN, *FLAGS, "--model=cnn", "--batch_size=24", "--momentum=0.5")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run((*flags, "--max_steps=20", f"--log_dir={whole}"))
    for steps in (7, 20):
        run((*flags, f"--max_steps={steps}", f"--log_dir={resumed}"))
    assert "CPU of" not in str(start(resumed)["device"])
    for name, value in values(whole).items():
        np.testing.assert_array_equal(values(resumed)[name], value)


@pytest.mark.parametrize("flag", ["--xla", "--compute_dtype=bfloat16"])
def test_faster_kernels_learn_as_well(tmp_path: Path, flag: str) -> None:
    flags = ("--dataset=digits", "--max_steps=300", flag, f"--log_dir={tmp_path}/run")
    done = run((*TRAIN, *flags))
    assert "CPU of" not in str(start(tmp_path / "run")["device"])
    correct = re.findall(r"Precision @ 1: ([0-9.]+)", done.stdout)
    assert float(correct[-1]) > 0.85


@several
@pytest.mark.parametrize("more", [(), ("--fp16_allreduce",), ("--gradient_buckets=3",)])
def test_two_gpus_compute_what_one_does_over_nccl(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run((*TRAIN, *FLAGS, *STEPS, f"--log_dir={one}"), env=EXACT)
    flags = (*FLAGS, "--batch_size=12", "--max_steps=20", *more, f"--log_dir={two}")
    command = (*MPIRUN, 2, "-x", "NCCL_DEBUG=INFO", *TRAIN, *flags)
    done = run(command, env=EXACT)
    assert "NCCL INFO" in done.stdout + done.stderr
    if "--fp16_allreduce" not in more:
        assert_close(two, one)


def test_horovod_is_built_with_nccl() -> None:
    run((TRAIN[0], "-c", "import horovod.tensorflow as h; assert h.nccl_built()"))
