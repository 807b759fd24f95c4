"""Communication limit: a bare MPI Allreduce of float32 values."""

from __future__ import annotations

import statistics

import numpy as np
from mpi4py import MPI

from tests.benchmarks import measuring

_BYTES = 4  # per float32

# Most bytes in a block, which limits the repeats of large messages.
_BLOCK_BYTES = 64 << 20


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    parser = measuring.parser(__doc__, ["mlp"])
    parser.add_argument(
        "--bytes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[measuring.NUM_GRADIENTS * _BYTES],
        help="message sizes, comma-separated (default: the gradients of a step)",
    )
    options = parser.parse_args()
    seconds = []
    for size in options.bytes:
        repeats = max(2, min(options.block_steps, _BLOCK_BYTES // size))
        seconds.append(measure(size // _BYTES, options.blocks, repeats))
    if MPI.COMM_WORLD.rank == 0:
        measuring.report(
            step_seconds=seconds[-1],
            memory_mb=measuring.memory_mb(),
            bytes=options.bytes,
            seconds=seconds,
        )


def measure(count: int, blocks: int, repeats: int) -> float:
    """Returns the duration of an allreduce in seconds, as the median over blocks.

    Args:
        count: Number of values.
        blocks: Number of timed blocks, after one for warm-up.
        repeats: Allreduces per block.
    """
    comm = MPI.COMM_WORLD
    # Zeros, because repeated sums overflow.
    gradients, total = np.zeros(count, np.float32), np.zeros(count, np.float32)
    times = []
    for _ in range(blocks + 1):
        comm.Barrier()
        begin = MPI.Wtime()
        for _ in range(repeats):
            comm.Allreduce(gradients, total)
        times.append(comm.allreduce(MPI.Wtime() - begin, MPI.MAX) / repeats)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
