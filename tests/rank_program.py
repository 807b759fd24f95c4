"""What each rank of the invariant tests runs, for one problem after another.

Usage: python rank_program.py DIRECTORY HANDOVER PROBLEM ...

For each problem, rank 0 writes observations to DIRECTORY/<problem>.json, and trained
variables to DIRECTORY/<problem>.npz. HANDOVER is the directory of another number of
ranks, whose runs are continued; "" if there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.connect import connect
from tests.problems import PROBLEMS, Problem

GLOBAL_BATCH = 24  # divides by 1, 2, 3 and 4
BATCH = 7  # divides no split
HANDED_OVER = 5  # steps before another number of ranks continues


def main() -> None:
    """Trains on each problem several times, and records what each rank observed."""
    cluster = connect()
    devices.import_tensorflow()
    directory, handover = Path(sys.argv[1]), sys.argv[2]
    # With a relative --log_dir and its own working directory, whatever a rank writes
    # stays apart.
    own = directory / f"rank{cluster.rank}"
    for name in sys.argv[3:]:
        (own / name).mkdir(parents=True)
        os.chdir(own / name)
        if handover and cluster.rank == 0:
            shutil.copytree(Path(handover) / "rank0" / name / "handover", "handover")
        observed, arrays = observe(cluster, PROBLEMS[name])
        if cluster.rank == 0:
            np.savez(directory / f"{name}.npz", *arrays)
            (directory / f"{name}.json").write_text(json.dumps(observed))
    cluster.allgather(None)


def observe(
    cluster: Cluster, problem: Problem
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Trains on a problem; returns what each rank observed, and the variables."""
    from distmnist.core.config import Config
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.metrics.tensorboard import TensorBoardWriter

    observed: dict[str, Any] = {}
    flags = {**problem.flags, "eval_every": 0, "checkpoint_every": 0}

    compared = Config(
        **flags,
        dataset=problem.dataset,
        batch_size=GLOBAL_BATCH // cluster.size,
        lr_scaling="none",
        log_every=1,
        log_dir="compared",
    )
    trainer = watched(compared, cluster)
    evaluator = Evaluator(
        trainer._splits, trainer.network, cluster, trainer._dataset.spec
    )
    observed["results"] = {
        split: [result.metrics, result.counts and result.counts.num_correct]
        for split, result in evaluator.evaluate().items()
    }
    # Ranks other than 0 start with other values, which the broadcast must replace.
    for variable in trainer.variables.values():
        variable.assign_add(variable * 0 + cluster.rank)
    trainer.run()
    # Takes a third of a run, and rank 0 alone has done it once.
    TensorBoardWriter._draw = lambda writer: None
    observed["hashes"] = cluster.allgather(trainer.hashes)
    arrays = [variable.numpy() for variable in trainer.variables.values()]

    flags = {**flags, **problem.epochs, "batch_size": BATCH, "log_every": 1000}
    trainer = watched(Config(**flags, num_epochs=2, log_dir="epochs"), cluster)
    trainer.run()
    observed["examples"] = cluster.allgather(trainer.examples)
    last = [trainer.progress.step, trainer.hashes[-1]]

    # The same run, interrupted twice, in the middle of an epoch.
    measured = {"profile": (1, 2)} if problem.is_measured else {}
    for end in ({"max_steps": 3, **measured}, {"max_steps": 4}, {"num_epochs": 2}):
        trainer = watched(Config(**{**flags, **end}, log_dir="resumed"), cluster)
        trainer.run()
    observed["resumed"] = [last, [trainer.progress.step, trainer.hashes[-1]]]

    # A run that another number of ranks continues, or continues itself.
    end = {"num_epochs": 2} if Path("handover").exists() else {"max_steps": HANDED_OVER}
    end = cluster.broadcast(end)
    trainer = watched(Config(**{**flags, **end}, log_dir="handover"), cluster)
    trainer.run()
    observed["handover"] = cluster.allgather(trainer.examples)

    observed["files"] = cluster.allgather(
        [str(path) for path in Path().rglob("*") if path.is_file()]
    )
    return observed, arrays


def watched(config: Any, cluster: Cluster) -> Any:
    """Returns a trainer that records its parameters and examples."""
    from distmnist.data import loading
    from distmnist.data.pipeline import Block
    from distmnist.trainer import Trainer

    class Watched(Trainer):
        def __init__(self) -> None:
            self.hashes: list[str] = []
            self.examples: list[list[int]] = []  # of each step
            super().__init__(config, cluster, loading.load(config, cluster))

        def train_block(self, block: Block) -> Any:
            self.examples.extend(block.indices.tolist())
            progress = super().train_block(block)
            values = b"".join(v.numpy().tobytes() for v in self.variables.values())
            self.hashes.append(hashlib.sha256(values).hexdigest())
            return progress

    return Watched()


if __name__ == "__main__":
    main()
