"""distmnist.train, where each rank notes the examples that it takes.

usage: elastic_program.py DIRECTORY [flags].  A rank appends to DIRECTORY/<pid>.jsonl:
{"attempt": examples consumed at its begin, "size", "rank"}, each time that ranks have
joined, and {"position", "examples"} for each batch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from distmnist import train
from distmnist.distributed import cluster, process


def main() -> None:
    """Trains."""
    path = Path(sys.argv.pop(1), f"{os.getpid()}.jsonl")
    connect = cluster.connect

    def connect_and_watch(*args: Any) -> cluster.Cluster:
        workers = connect(*args)
        process.import_tensorflow()
        from distmnist.data import sampler
        from distmnist.distributed import elastic

        newest, batches = elastic.Commits.newest, sampler.batches

        def note(**values: object) -> None:
            with path.open("a") as file:
                file.write(json.dumps({**values, "time": time.time()}) + "\n")

        def noted_newest(*args: Any) -> Any:
            found = newest(*args)
            consumed = found[0].consumed if found[0] else 0
            note(attempt=consumed, rank=workers.rank, size=workers.size)
            return found

        def noted_batches(*args: Any) -> Any:
            indices = batches(*args)
            _, consumed, _, batch_size, rank, size, _ = args
            for step, batch in enumerate(indices.tolist()):
                position = consumed + (step * size + rank) * batch_size
                note(position=position, examples=batch)
            return indices

        elastic.Commits.newest = noted_newest  # type: ignore[method-assign]
        sampler.batches = noted_batches
        return workers

    cluster.connect = connect_and_watch
    train.main()


if __name__ == "__main__":
    main()
