"""The networks and their optimizer in PyTorch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import torch
from torch import nn

from tests.benchmarks.measuring import LAYERS, TASKS


def build(model: str) -> nn.Module:
    """Returns a network of images [batch, 784]; its outputs are logits.

    Args:
        model: Name of the network.
    """
    network = nn.Sequential(*{"mlp": _mlp, "cnn": _cnn}[model]())
    for layer in network:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            std = 1 / math.sqrt(layer.weight[0].numel())  # 1/sqrt(fan-in)
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)
    return network


def optimizer(model: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimizer of a network.

    Args:
        model: Name of the network.
        parameters: Its parameters.
    """
    task = TASKS[model]
    return torch.optim.SGD(parameters, lr=task.learning_rate, momentum=task.momentum)


def _mlp() -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, units in itertools.pairwise(LAYERS):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return layers[:-1]


def _cnn() -> list[nn.Module]:
    return [
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, 32, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(64 * 7 * 7, 1024), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(1024, 10),
    ]
