"""Trains from Python, as a user's script does, on the ranks that a launcher started.

Usage: python -m tests.fit_program LOG_DIR
"""

from __future__ import annotations

import dataclasses
import sys

import distmnist
from tests import problems

FLAGS = {"batch_size": 12, "num_epochs": 3, "log_every": 5, "momentum": 0.5}


def main() -> None:
    """Trains the problem of color images twice, with objects instead of names."""
    config = distmnist.Config(**FLAGS, log_dir=sys.argv[1])
    run = distmnist.fit(config, dataset=problems.colors(), network=problems.normalized)
    steps = [line["step"] for line in run.history if line["kind"] == "train"]
    print(f"history {steps}")
    again = dataclasses.replace(config, log_dir=f"{sys.argv[1]}-again")
    second = distmnist.fit(again, problems.colors(), problems.normalized)
    print(f"same {second.metrics == run.metrics}")
    print(f"accuracy {run.precision['test']:.4f} {run.metrics['test']['loss'] > 0}")
    print(f"predicted {run.model(run.dataset.test.features)['class'].shape}")


if __name__ == "__main__":
    main()
