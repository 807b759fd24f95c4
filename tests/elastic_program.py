"""distmnist.train, where each rank records the examples that it takes.

usage: elastic_program.py DIRECTORY [flags]. A rank appends to DIRECTORY/<pid>.jsonl:
{"attempt": examples consumed at its start, "size", "rank"}, each time that ranks have
connected, and {"position", "examples"} for each batch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from distmnist import cli, train
from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.connect import connect


def main() -> None:
    """Trains."""
    path = Path(sys.argv.pop(1), f"{os.getpid()}.jsonl")

    def record(**values: object) -> None:
        with path.open("a") as file:
            file.write(json.dumps({**values, "time": time.time()}) + "\n")

    def connect_and_record(*args: Any) -> Cluster:
        cluster = connect(*args)
        devices.import_tensorflow()
        from distmnist.data.pipeline import Block
        from distmnist.trainer import Trainer

        restore, train_block = Trainer._restore, Trainer.train_block

        def recorded_restore(self: Trainer, *args: Any) -> None:
            restore(self, *args)
            consumed = self.progress.consumed
            record(attempt=consumed, rank=cluster.rank, size=cluster.size)

        def recorded_train_block(self: Trainer, block: Block) -> Any:
            # Where they are in the stream follows from what all ranks have consumed.
            batch_size = block.indices.shape[1]
            stride = batch_size * cluster.size
            start = self.progress.consumed + cluster.rank * batch_size
            for step, batch in enumerate(block.indices.tolist()):
                record(position=start + step * stride, examples=batch)
            return train_block(self, block)

        Trainer._restore = recorded_restore  # type: ignore[method-assign]
        Trainer.train_block = recorded_train_block  # type: ignore[method-assign]
        return cluster

    cli.connect = connect_and_record
    train.main()


if __name__ == "__main__":
    main()
