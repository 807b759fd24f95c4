"""PyTorch's training loop; with DistributedDataParallel over Gloo under torchrun.

The data are in memory, sharded by a DistributedSampler. A DataLoader, which fetches
examples one by one, is slower.
"""

from __future__ import annotations

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

from tests.benchmarks import data, measuring
from tests.benchmarks.peers import torch_network


def main() -> None:
    """Measures, on every rank; rank 0 reports."""
    options = measuring.parser(__doc__).parse_args()
    train = data.load(options.data)[0]
    images = torch.tensor(train.images).float() / 255
    labels = torch.tensor(train.labels).long()
    model = torch_network.build(options.model)
    rank, size = 0, 1
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("gloo")
        rank, size = distributed.get_rank(), distributed.get_world_size()
        model = DistributedDataParallel(model)
    optimizer = torch_network.optimizer(options.model, model.parameters())
    loss = nn.CrossEntropyLoss()
    sampler = DistributedSampler(labels, size, rank)

    def batches():
        for epoch in range(10**6):
            sampler.set_epoch(epoch)
            yield from torch.tensor(list(sampler)).split(measuring.BATCH_SIZE)

    stream = batches()

    def run_steps(steps: int) -> None:
        for _ in range(steps):
            batch = next(stream)
            optimizer.zero_grad()
            loss(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    steps = measuring.timed(run_steps, options)
    if rank == 0:
        measuring.report(**steps)
    if size > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
