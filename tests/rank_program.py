"""What the tests of the invariants run on every rank.

usage: rank_program.py DIRECTORY.  For each network, rank 0 writes what it saw to
DIRECTORY/<network>.json, and trained variables to DIRECTORY/<network>.npz.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from distmnist.distributed import cluster, process

GLOBAL_BATCH = 24  # divides by 1, 2, 3 and 4
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden1": 16, "hidden2": 8, "max_steps": 50, "fake_sizes": (997, 10, 10)},
    "cnn": {"momentum": 0.5, "max_steps": 10, "fake_sizes": (97, 10, 10)},
}


def main() -> None:
    """Trains each network twice, and notes what each rank saw."""
    workers = cluster.connect()
    process.import_tensorflow()
    directory = Path(sys.argv[1])
    # With a relative --log_dir and a working directory of its own, whatever a
    # rank writes stays apart.
    own = directory / f"rank{workers.rank}"
    for network, flags in NETWORKS.items():
        (own / network).mkdir(parents=True)
        os.chdir(own / network)
        seen, arrays = train(workers, {"model": network, **flags})
        if workers.rank == 0:
            np.savez(directory / f"{network}.npz", *arrays)
            (directory / f"{network}.json").write_text(json.dumps(seen))
    workers.allgather(None)


def train(
    workers: cluster.Cluster, flags: dict[str, Any]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Trains a network twice, and returns what each rank saw, and its variables."""
    from distmnist.core.config import Config
    from distmnist.metrics.evaluator import Evaluator
    from distmnist.metrics.types import Writer

    seen: dict[str, Any] = {}
    flags = {**flags, "eval_every": 0, "checkpoint_every": 0}

    digits = Config(
        **flags,
        dataset="digits",
        batch_size=GLOBAL_BATCH // workers.size,
        lr_scaling="none",
        log_every=1,
        log_dir="digits",
    )
    trainer = watched(digits, workers)
    evaluator = Evaluator(trainer._splits, trainer.network, workers, Writer())
    seen["counts"] = {k: v.num_correct for k, v in evaluator.evaluate().items()}
    # Ranks other than 0 begin elsewhere: the broadcast must mend that.
    for variable in trainer.variables.values():
        variable.assign_add(variable * 0 + workers.rank)
    trainer.run()
    seen["hashes"] = workers.allgather(trainer.hashes)
    arrays = [variable.numpy() for variable in trainer.variables.values()]

    # 997 or 97 examples and batches of 7: nothing divides.
    epochs = Config(
        **flags,
        dataset="fake",
        batch_size=7,
        num_epochs=2,
        log_dir="epochs",
    )
    trainer = watched(epochs, workers)
    trainer.run()
    seen["examples"] = workers.allgather(trainer.examples)

    seen["files"] = workers.allgather(
        [str(path) for path in Path().rglob("*") if path.is_file()]
    )
    return seen, arrays


def watched(config: Any, workers: cluster.Cluster) -> Any:
    """Returns a trainer that notes its parameters and examples."""
    from distmnist import trainer
    from distmnist.data import loading, sampler

    class Watched(trainer.Trainer):
        def __init__(self) -> None:
            dataset = loading.load(config, workers)
            self.hashes: list[str] = []
            self.examples: list[list[int]] = []  # of each step
            super().__init__(config, workers, dataset)

        def train_to(self, step: int) -> Any:
            progress = super().train_to(step)
            values = b"".join(v.numpy().tobytes() for v in self.variables.values())
            self.hashes.append(hashlib.sha256(values).hexdigest())
            return progress

    watching = Watched()
    original = sampler.batches

    def batches(*args: Any) -> np.ndarray:
        indices = original(*args)
        watching.examples.extend(indices.tolist())
        return indices

    trainer.sampling.batches = batches
    return watching


if __name__ == "__main__":
    main()
