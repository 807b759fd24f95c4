"""Predicted scaling on common interconnects, from published constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.benchmarks import ring
from tests.benchmarks.ring import Ring

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


def predict(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Returns the efficiency for all networks, interconnects and numbers of workers."""
    rows = []
    for network in networks:
        for fabric in FABRICS:
            for workers in WORKERS:
                seconds = fabric.ring.seconds(4 * network.gradients, workers)
                rows.append(
                    {
                        "network": network.name,
                        "fabric": fabric.name,
                        "workers": workers,
                        "exists": workers <= fabric.largest,
                        "allreduce_seconds": seconds,
                        "efficiency": ring.efficiency(network.compute, seconds, False),
                        "efficiency_with_full_overlap": ring.efficiency(
                            network.compute, seconds, True
                        ),
                    }
                )
    return rows
