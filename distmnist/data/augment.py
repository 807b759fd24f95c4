"""Augmentations of images: functions for `Dataset(augment=…)`.

Each takes images, float32 [batch, height, width, channels], and the batch's random
numbers, and returns images of the same shape. Combine them with `compose`.
"""

from __future__ import annotations

import tensorflow as tf

from distmnist.core import autograph
from distmnist.core.errors import InputError
from distmnist.data.dataset import Augment
from distmnist.data.random import Random


def compose(*augments: Augment) -> Augment:
    """Returns an augmentation that applies several, in order."""

    def composed(images: tf.Tensor, random: Random) -> tf.Tensor:
        for augment in augments:
            images = autograph.converted(augment)(images, random)
        return images

    return composed


def flip(images: tf.Tensor, random: Random) -> tf.Tensor:
    """Mirrors half of the images, left to right."""
    _check_images(images, "flip")
    mirrored = random.uniform(tf.shape(images)[0]) < 0.5
    return tf.where(mirrored[:, :, None, None], images[:, :, ::-1], images)


def shift(pixels: int) -> Augment:
    """Returns an augmentation that moves images, and fills the gap with zeros.

    Args:
        pixels: greatest distance, up or down and left or right.
    """
    if pixels < 0:
        raise InputError(f"shift({pixels}): the distance must be at least 0")

    def shifted(images: tf.Tensor, random: Random) -> tf.Tensor:
        _check_images(images, "shift")
        border = [[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]]
        return _cut(tf.pad(images, border), images.shape[1:3], random)

    return shifted


def crop(height: int, width: int) -> Augment:
    """Returns an augmentation that enlarges a random part of each image to its size.

    Args:
        height: of the part, in pixels.
        width: of the part, in pixels.
    """
    if min(height, width) < 1:
        raise InputError(f"crop({height}, {width}): the part must have pixels")

    def cropped(images: tf.Tensor, random: Random) -> tf.Tensor:
        _check_images(images, "crop")
        rows, columns = images.shape[1:3]
        if height > rows or width > columns:
            raise InputError(
                f"crop({height}, {width}): larger than the images, {rows}x{columns}; "
                "give a smaller part"
            )
        part = _cut(images, (height, width), random)
        return tf.image.resize(part, images.shape[1:3])

    return cropped


def _check_images(images: tf.Tensor, name: str) -> None:
    """Raises InputError if features are not images."""
    if images.shape.rank != 4 or not images.dtype.is_floating:
        shape = "x".join(map(str, images.shape[1:]))
        raise InputError(
            f"{name}: the features are no images, but {images.dtype.name} of shape "
            f"{shape}; give them the shape height x width x channels"
        )


def _cut(images: tf.Tensor, size: tuple[int, int], random: Random) -> tf.Tensor:
    """Cuts a part of the given size out of each image, at random."""
    height, width = size
    batch = tf.shape(images)[0]
    places = random.uniform(batch, width=2)

    def indices(place: tf.Tensor, whole: int, part: int) -> tf.Tensor:
        start = tf.cast(place * float(whole - part + 1), tf.int32)
        return start[:, None] + tf.range(part)[None]

    rows = tf.gather(
        images, indices(places[:, 0], images.shape[1], height), axis=1, batch_dims=1
    )
    return tf.gather(
        rows, indices(places[:, 1], images.shape[2], width), axis=2, batch_dims=1
    )
