"""The limit of communication: MPI's Allreduce of float32 values, and nothing else."""

from __future__ import annotations

import statistics

import numpy as np
from mpi4py import MPI

from tests.benchmarks import measuring

_BYTES = 4  # of a float32

# What a block moves at most, so that a large message takes no longer than a small one.
_BLOCK_BYTES = 64 << 20


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    parser = measuring.parser(__doc__)
    parser.add_argument(
        "--bytes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[measuring.NUM_GRADIENTS * _BYTES],
        help="sizes of the message, with commas; by default a step's gradients",
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
    """Returns how long one allreduce takes: the median over blocks of so many.

    Args:
        count: number of values.
        blocks: how many are timed; one more warms up.
        repeats: allreduces in a block.
    """
    comm = MPI.COMM_WORLD
    # Zeros, because sums of sums grow without end.
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
