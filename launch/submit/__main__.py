"""Submits a training job to a cluster.

Usage: python -m launch.submit KIND [flags] -- [flags of distmnist.train]

KIND is the kind of cluster; KIND --help lists its flags:

  k8s     Kubernetes, as launch/submit_k8s
  slurm   Slurm, as launch/submit_slurm
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from launch.submit import running
from launch.submit.screen import Screen

# Modules, of which one is imported: each needs the client of its kind of cluster.
KINDS = {
    "k8s": "launch.submit.k8s.program",
    "slurm": "launch.submit.slurm.program",
}


def main(argv: Sequence[str]) -> int:
    """Runs the program of a kind of cluster.

    Args:
        argv: the program's name, the kind, and the arguments of the kind's program.

    Returns:
        The exit status.
    """
    kind = argv[1] if len(argv) > 1 else ""
    if kind in ("-h", "--help"):
        return running.run("submit", _show_help)
    if kind not in KINDS:
        return _fail(
            f"argument {kind!r}: the first must be the kind of cluster, one of "
            f"{', '.join(KINDS)}; see python -m launch.submit --help"
        )
    try:
        program = importlib.import_module(KINDS[kind])
    except ImportError as error:
        return _fail(f"{error}: run launch/setup.sh, and source .venv/bin/activate")
    status: int = program.main(argv[1:])
    return status


def _show_help(_: Screen) -> int:
    print(__doc__)
    return 0


def _fail(problem: str) -> int:
    print(f"submit: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
