"""The program that the tests of the invariants run on every rank.

usage: rank_program.py DIRECTORY.  For each network, rank 0 writes observations to
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

from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.connect import connect

GLOBAL_BATCH = 24  # divides by 1, 2, 3 and 4
# Few steps of the cnn: once rounding decides the maximum of a pooling, or a ReLU, in
# another way, as at step 6 of seed 0, the difference is no longer one of rounding.
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden1": 16, "hidden2": 8, "max_steps": 50, "fake_sizes": (997, 10, 10)},
    "cnn": {"momentum": 0.5, "max_steps": 4, "fake_sizes": (97, 10, 10)},
}


def main() -> None:
    """Trains each network twice, and records what each rank observed."""
    cluster = connect()
    devices.import_tensorflow()
    directory = Path(sys.argv[1])
    # With a relative --log_dir and its own working directory, whatever a rank writes
    # stays apart.
    own = directory / f"rank{cluster.rank}"
    for network, flags in NETWORKS.items():
        (own / network).mkdir(parents=True)
        os.chdir(own / network)
        observed, arrays = train(cluster, {"model": network, **flags})
        if cluster.rank == 0:
            np.savez(directory / f"{network}.npz", *arrays)
            (directory / f"{network}.json").write_text(json.dumps(observed))
    cluster.allgather(None)


def train(
    cluster: Cluster, flags: dict[str, Any]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Trains a network twice; returns what each rank observed, and its variables."""
    from distmnist.core.config import Config
    from distmnist.metrics.evaluator import Evaluator

    observed: dict[str, Any] = {}
    flags = {**flags, "eval_every": 0, "checkpoint_every": 0}

    digits = Config(
        **flags,
        dataset="digits",
        batch_size=GLOBAL_BATCH // cluster.size,
        lr_scaling="none",
        log_every=1,
        log_dir="digits",
    )
    trainer = watched(digits, cluster)
    evaluator = Evaluator(
        trainer._splits, trainer.network, cluster, trainer._dataset.spec
    )
    observed["counts"] = {k: v.num_correct for k, v in evaluator.evaluate().items()}
    # Ranks other than 0 start with other values, which the broadcast must replace.
    for variable in trainer.variables.values():
        variable.assign_add(variable * 0 + cluster.rank)
    trainer.run()
    observed["hashes"] = cluster.allgather(trainer.hashes)
    arrays = [variable.numpy() for variable in trainer.variables.values()]

    # 997 or 97 examples and batches of 7: nothing divides.
    epochs = Config(
        **flags,
        dataset="fake",
        batch_size=7,
        num_epochs=2,
        log_dir="epochs",
    )
    trainer = watched(epochs, cluster)
    trainer.run()
    observed["examples"] = cluster.allgather(trainer.examples)

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
