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

from distmnist import Dataset, open_prepared
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
        shards = directory / "shards" / name
        observed, arrays = observe(cluster, PROBLEMS[name], shards)
        if cluster.rank == 0:
            np.savez(directory / f"{name}.npz", *arrays)
            (directory / f"{name}.json").write_text(json.dumps(observed))
    cluster.allgather(None)


def observe(
    cluster: Cluster, problem: Problem, shards: Path
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Trains on a problem; returns what each rank observed, and the variables.

    Args:
        cluster: the ranks.
        problem: what is trained on.
        shards: where the data set is prepared, for all ranks.
    """
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
    results = trainer.run()
    observed["examples"] = cluster.allgather(trainer.examples)
    last = [trainer.progress.step, trainer.hashes[-1], metrics(results)]

    # The same run, interrupted twice, in the middle of an epoch; and on prepared data,
    # which are read from disk, then in memory, then from disk again.
    dataset = trainer._dataset
    if cluster.rank == 0:
        prepare(dataset, shards)
    cluster.allgather(None)
    measured = {"profile": (1, 2)} if problem.is_measured else {}
    for end, residency in (
        ({"max_steps": 3, **measured}, "stream"),
        ({"max_steps": 4}, "memory"),
        ({"num_epochs": 2}, "stream"),
    ):
        opened = open_prepared(shards, augment=dataset.augment)
        config = Config(**{**flags, **end}, data_residency=residency, log_dir="resumed")
        trainer = watched(config, cluster, opened)
        results = trainer.run()
    resumed = [trainer.progress.step, trainer.hashes[-1], metrics(results)]
    observed["resumed"] = [last, resumed]

    # A run that another number of ranks continues, or continues itself.
    end = {"num_epochs": 2} if Path("handover").exists() else {"max_steps": HANDED_OVER}
    end = cluster.broadcast(end)
    config = Config(**{**flags, **end}, data_residency="stream", log_dir="handover")
    trainer = watched(config, cluster, opened)
    trainer.run()
    observed["handover"] = cluster.allgather(trainer.examples)

    observed["files"] = cluster.allgather(
        [str(path) for path in Path().rglob("*") if path.is_file()]
    )
    return observed, arrays


def metrics(results: Any) -> dict[str, Any]:
    """Returns the metrics of each split."""
    return {split: result.metrics for split, result in results.items()}


def prepare(dataset: Dataset, directory: Path) -> None:
    """Writes a data set as shards, several of the training split."""
    from distmnist.data.shards import examples, parallel, preparation

    preparation._SMALLEST = dataset.spec.example_bytes * 50
    writing = preparation.Preparation(directory, examples.of_dataset(dataset))
    parts = writing.begin() or []
    assert len(parts) > 3
    for written in parallel.write(writing, parts, 1, lambda _: None):
        writing.note(written)
    writing.finish()


def watched(config: Any, cluster: Cluster, dataset: Dataset | None = None) -> Any:
    """Returns a trainer that records its parameters and examples."""
    from distmnist.data import loading
    from distmnist.data.pipeline import Block
    from distmnist.trainer import Trainer

    class Watched(Trainer):
        def __init__(self) -> None:
            self.hashes: list[str] = []
            self.examples: list[list[int]] = []  # of each step
            super().__init__(config, cluster, dataset or loading.load(config, cluster))

        def train_block(self, block: Block) -> Any:
            self.examples.extend(block.indices.tolist())
            progress = super().train_block(block)
            values = b"".join(v.numpy().tobytes() for v in self.variables.values())
            self.hashes.append(hashlib.sha256(values).hexdigest())
            return progress

    return Watched()


if __name__ == "__main__":
    main()
