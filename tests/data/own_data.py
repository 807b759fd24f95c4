"""Loads --dataset=PATH as the programs do, and checks what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.data.dataset import Dataset
from distmnist.distributed.cluster import Cluster


def load(path: Path, **flags: Any) -> Dataset:
    """Loads the data at a path, with flags."""
    loading.find_source.cache_clear()
    return loading.load(Config(dataset=str(path), **flags), Cluster())


def refuse(message: str, path: Path, **flags: Any) -> None:
    """Checks that loading fails, with one line that has the message.

    Args:
        message: regular expression.
        path: the data.
        **flags: as of `load`.
    """
    with pytest.raises(InputError, match=message) as caught:
        load(path, **flags)
    text = str(caught.value)
    assert "\n" not in text
    assert "delete" not in text
    assert "; " in text  # what to do


def picture(seed: int = 0, size: tuple[int, ...] = (6, 5, 3)) -> Image.Image:
    """Returns an image of random pixels, of height, width and channels."""
    pixels = np.random.RandomState(seed).randint(0, 256, size).astype(np.uint8)
    return Image.fromarray(pixels)


def save_images(
    root: Path, classes: str = "cat dog", count: int = 12, **arguments: Any
) -> Path:
    """Saves PNG images for each class in a directory, and returns it."""
    for index, name in enumerate(classes.split()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = picture(100 * index + number, **arguments)
            image.save(root / name / f"{number:02}.png")
    return root
