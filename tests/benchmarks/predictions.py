"""Predicted scaling on common interconnects, from published constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.benchmarks.ring import Ring

BUCKETS = (1, 2, 4, 8, 16)  # numbers of buckets to choose from
WORKERS = (8, 16, 32, 64, 128, 256, 512, 1024)


class Fabric(NamedTuple):
    """An interconnect between workers.

    Attributes:
        name: Its name.
        ring: Its constants.
        largest: Most workers that it connects in current systems.
        source: Source of the constants.
    """

    name: str
    ring: Ring
    largest: int
    source: str


FABRICS = (
    Fabric(
        "10 GbE",
        Ring(15e-6, 1 / 1.25e9),
        1024,
        "bandwidth: line rate; latency: half of the round trip of 30 us between two "
        'tuned Linux hosts in Cloudflare, "How to achieve low latency with 10Gbps '
        'Ethernet", 2015',
    ),
    Fabric(
        "100 Gb InfiniBand",
        Ring(14e-6, 1 / 12e9),
        1024,
        "NCCL's own model: bandwidth NET_BW in src/graph/topo.h (12 GB/s); latency "
        "hwLat, NET, ring, Simple in src/graph/tuning.cc (14 us)",
    ),
    Fabric(
        "NVLink (A100)",
        Ring(3.4e-6, 1 / 240e9),
        8,
        "NCCL's own model: bandwidth 12 links of SM80_NVLINK_BW in src/graph/topo.h "
        "(20 GB/s); latency hwLat, NVLINK, ring, Simple in src/graph/tuning.cc "
        "(3.4 us); a DGX A100 connects 8",
    ),
)


class Network(NamedTuple):
    """A neural network to train.

    Attributes:
        name: Its name.
        gradients: Number of float32 gradients.
        compute: Seconds of a step on one worker.
        source: Source of `compute`.
    """

    name: str
    gradients: int
    compute: float
    source: str


# NVIDIA DeepLearningExamples, PyTorch/Classification/ConvNets: ResNet-50 in TF32 on 8
# A100, 5,322 images/s.
RESNET = Network(
    "25 M parameters",
    25_000_000,
    64 / (5322 / 8),
    "assumed: a batch of 64 at 665 images/s, as NVIDIA's DeepLearningExamples report "
    "for ResNet-50 on an A100 in TF32",
)


def efficiency(network: Network, fabric: Fabric, workers: int, buckets: int) -> float:
    """Returns the weak-scaling efficiency: the share of compute in a step.

    Args:
        network: Network to train.
        fabric: Interconnect.
        workers: Number of workers.
        buckets: Number of buckets of gradients, each sent while others are computed.
    """
    compute, size = network.compute, 4 * network.gradients
    # The forward pass takes a third of the operations.
    return compute / fabric.ring.step(compute, size, workers, buckets, compute / 3)


def predict(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Returns the efficiency for all networks, interconnects and numbers of workers."""
    rows = []
    for network in networks:
        for fabric in FABRICS:
            for workers in WORKERS:
                found = [efficiency(network, fabric, workers, b) for b in BUCKETS]
                rows.append(
                    {
                        "network": network.name,
                        "fabric": fabric.name,
                        "workers": workers,
                        "exists": workers <= fabric.largest,
                        "efficiency": found[0],
                        "efficiency_with_buckets": max(found),
                    }
                )
    return rows
