"""Everything that this project tests and measures on GPUs, in one command.

python -m tests.gpu [--data=DIR] [--out=DIR]

Runs `pytest -m gpu`, trains with each kind of kernels, writes a report of that, and
runs the benchmarks against other frameworks. Prints their tables, and what failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.gpu.test_gpu import GPUS

_TIMEOUT = 3600.0  # seconds, of each command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all commands.

    Args:
        argv: command-line arguments; by default those of the process.

    Returns:
        The exit status: 1 if a command failed, or there is no GPU.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data/mnist", help="MNIST directory")
    parser.add_argument("--out", type=Path, default=Path("logs/gpu"))
    options = parser.parse_args(argv)
    if not GPUS:
        print("there is no GPU: nvidia-smi -L lists none")
        return 1
    if options.out.exists():
        print(f"--out={options.out}: exists, and its runs are complete; name another")
        return 1
    subprocess.run(["nvidia-smi"], timeout=60, check=False)
    failed = []
    for command in commands(options.data, options.out, GPUS):
        print(f"\n$ {' '.join(command)}", flush=True)
        words = [sys.executable if word == "python" else word for word in command]
        try:
            status = subprocess.run(words, timeout=_TIMEOUT, check=False).returncode
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            failed.append(" ".join(command))
    print("\nfailed:", *(failed or ["none"]), sep="\n  ")
    return bool(failed)


def commands(data: str, out: Path, gpus: int) -> list[list[str]]:
    """Returns the commands.

    Args:
        data: MNIST directory.
        out: directory for results.
        gpus: number of GPUs.
    """
    flags = ["--max_steps=600", "--profile=300,320", f"--input_data_dir={data}"]
    train = ["python", "-m", "distmnist.train", *flags]
    ranks = [["mpirun", "-np", str(gpus)]] if gpus > 1 else []
    measured = [
        [*launcher, *train, f"--model={model}", *more, f"--log_dir={out}/{number}"]
        for number, (launcher, model, more) in enumerate(
            (launcher, model, more)
            for launcher in ([], *ranks)
            for model in ("mlp", "cnn")
            for more in ([], ["--xla"], ["--compute_dtype=bfloat16"])
        )
    ]
    report = ["python", "-m", "distmnist.report", f"--output={out}/report.html"]
    report += [f"--log_dir={out}/{number}" for number in range(len(measured))]
    benchmark = ["python", "-m", "tests.benchmarks.run", f"--data={data}"]
    return [
        ["python", "-m", "pytest", "-m", "gpu"],
        *measured,
        report,
        *([*benchmark, f"--model={m}", f"--out={out}/{m}"] for m in ("mlp", "cnn")),
    ]


if __name__ == "__main__":
    sys.exit(main())
