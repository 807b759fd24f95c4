"""PyTorch's DistributedDataParallel over Gloo, with ranks that mpirun has started."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks import measuring
from tests.benchmarks.overlap import backward


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    parser = measuring.parser(__doc__)
    backward.add_arguments(parser)
    parser.add_argument("--address", default="127.0.0.1", help="of rank 0's host")
    options = parser.parse_args()
    rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://{options.address}:29533",
        rank=rank,
        world_size=int(os.environ["OMPI_COMM_WORLD_SIZE"]),
    )
    model = DistributedDataParallel(_Layers(options))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones([], requires_grad=True)).backward()
            optimizer.step()

    steps = measuring.timed(run_steps, options)
    if rank == 0:
        measuring.report(**steps)
    distributed.destroy_process_group()


class _Layers(nn.Module):
    def __init__(self, options: Any):
        super().__init__()
        size = backward.layer_size(options.megabytes)
        self._wait = backward.waiting(options.kind, options.layer_ms)
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.zeros(size)) for _ in range(backward.LAYERS)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight in self.weights:
            x = _Layer.apply(x, weight, self._wait)
        return x


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Any, weight: Any, wait: Any) -> Any:
        context.wait, context.size = wait, weight.numel()
        return x + 0.0

    @staticmethod
    def backward(context: Any, dy: Any) -> Any:
        context.wait(np.zeros(1))
        return dy, torch.full([context.size], 1e-6), None


if __name__ == "__main__":
    main()
