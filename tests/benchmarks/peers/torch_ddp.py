"""PyTorch's DistributedDataParallel over Gloo.

The data are in memory, sharded by a DistributedSampler. A DataLoader, which fetches
examples one by one, is slower.
"""

from __future__ import annotations

import math

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

from tests.benchmarks import data, measuring
from tests.benchmarks.measuring import BATCH_SIZE, LAYERS


def build() -> nn.Module:
    """Returns the network; its outputs are logits."""
    layers: list[nn.Module] = []
    for inputs, units in zip(LAYERS, LAYERS[1:]):
        linear = nn.Linear(inputs, units)
        nn.init.trunc_normal_(linear.weight, std=1 / math.sqrt(inputs))
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main() -> None:
    """Measures, on every rank started by torchrun; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    torch.distributed.init_process_group("gloo")
    train = data.load(options.data)[0]
    images = torch.tensor(train.images).float() / 255
    labels = torch.tensor(train.labels).long()
    model = DistributedDataParallel(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=measuring.LEARNING_RATE)
    loss = nn.CrossEntropyLoss()
    sampler = DistributedSampler(labels)

    def batches():
        for epoch in range(10**6):
            sampler.set_epoch(epoch)
            yield from torch.tensor(list(sampler)).split(BATCH_SIZE)

    stream = batches()

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            batch = next(stream)
            optimizer.zero_grad()
            loss(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    steps = measuring.timed(run_steps, options)
    if torch.distributed.get_rank() == 0:
        measuring.report(**steps)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
