"""What a network gets most wrong: examples to look at, and predicted numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from distmnist.data.dataset import Split, StreamedSplit
from distmnist.data.spec import DatasetSpec
from distmnist.data.streaming import chunks
from distmnist.data.tensors import chunk_size, normalize, restore_targets
from distmnist.metrics.types import ClassCounts, Errors, Mistakes, Predictions
from distmnist.models.network import Network

_SHOWN = 2000  # examples of a split whose predicted numbers are drawn, at most


def find(
    split: Split | StreamedSplit,
    network: Network,
    spec: DatasetSpec,
    counts: ClassCounts | None,
) -> tuple[Mistakes | None, Predictions | None]:
    """Returns the examples that the network is most wrong about, and its predictions.

    Args:
        split: the split, as tensors or streamed.
        network: the network.
        spec: shapes and classes of the data set.
        counts: of the split, if there are any.

    Returns:
        The mistakes, for a class each; the predictions, for numbers; else None.
    """
    if spec.num_classes is None:
        return None, predictions(split, network, spec)
    if counts and not spec.target_shape:
        return mistakes(split, network, spec), None
    return None, None


def mistakes(
    split: Split | StreamedSplit, network: Network, spec: DatasetSpec, count: int = 18
) -> Mistakes:
    """Returns the misclassified examples with the highest loss.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: the split, as tensors or streamed, of examples with a class each.
        network: what classifies its examples.
        spec: shapes and classes of the data set.
        count: most examples to return.
    """
    logits, labels = _outputs(split, network, spec)
    example_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, logits
    ).numpy()
    predictions = tf.argmax(logits, axis=1).numpy()
    (wrong,) = np.nonzero(predictions != labels)
    worst = wrong[np.argsort(-example_losses[wrong], kind="stable")[:count]]
    return Mistakes(
        split.take(worst).features,
        labels[worst],
        predictions[worst],
        np.exp(-example_losses[worst]),
    )


def predictions(
    split: Split | StreamedSplit, network: Network, spec: DatasetSpec, count: int = 18
) -> Predictions | None:
    """Returns predicted numbers.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: the split, as tensors or streamed, of examples whose targets are numbers.
        network: what predicts them.
        spec: shapes of the data set, and the normalization of its targets.
        count: most examples with large errors to return.

    Returns:
        The predictions; None if the outputs of a network with a loss of its own are not
        in the shape of the targets.
    """
    outputs, targets = _outputs(split, network, spec)
    predicted = restore_targets(outputs, spec).numpy()
    if predicted.shape != targets.shape:
        return None
    # In units of the standard deviation: several targets may have several units.
    errors = np.abs((predicted - targets) / np.reshape(spec.target_std, _row(spec)))
    errors = errors.reshape(len(targets), -1).mean(axis=1)
    worst = np.argsort(-np.nan_to_num(errors, nan=np.inf), kind="stable")[:count]
    step = -(-len(targets) // _SHOWN)
    return Predictions(
        predicted[::step],
        targets[::step],
        Errors(split.take(worst).features, predicted[worst], targets[worst]),
    )


def _row(spec: DatasetSpec) -> tuple[int, ...]:
    """Returns the shape in which the deviations of targets are divided by."""
    return spec.target_shape if isinstance(spec.target_std, tuple) else ()


def _outputs(
    split: Split | StreamedSplit, network: Network, spec: DatasetSpec
) -> tuple[tf.Tensor, NDArray[Any]]:
    """Returns the network's outputs for a split, and its targets."""
    size = chunk_size(spec)
    outputs, targets = [], []
    for chunk in chunks(split, range(0, split.size, size)):
        outputs.append(network.outputs(normalize(chunk.features, spec)))
        targets.append(chunk.targets)
    return tf.concat(outputs, axis=0), np.concatenate(targets)
