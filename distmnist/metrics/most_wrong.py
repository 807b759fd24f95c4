"""What a network gets most wrong: examples to look at, and predicted numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from distmnist.data.dataset import DatasetSpec, Split
from distmnist.data.tensors import normalize, restore_targets
from distmnist.metrics.types import ClassCounts, Errors, Mistakes, Predictions
from distmnist.models.network import Network

_CHUNK = 1000  # examples per pass
_SHOWN = 2000  # examples of a split whose predicted numbers are drawn, at most


def find(
    split: Split, network: Network, spec: DatasetSpec, counts: ClassCounts | None
) -> tuple[Mistakes | None, Predictions | None]:
    """Returns the examples that the network is most wrong about, and its predictions.

    Args:
        split: the split, as tensors.
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
    split: Split, network: Network, spec: DatasetSpec, count: int = 18
) -> Mistakes:
    """Returns the misclassified examples with the highest loss.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: the split, as tensors, of examples with a class each.
        network: what classifies its examples.
        spec: shapes and classes of the data set.
        count: most examples to return.
    """
    logits = tf.concat(list(_outputs(split.features, network, spec)), axis=0)
    labels = np.asarray(split.targets)
    example_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        split.targets, logits
    ).numpy()
    predictions = tf.argmax(logits, axis=1).numpy()
    (wrong,) = np.nonzero(predictions != labels)
    worst = wrong[np.argsort(-example_losses[wrong], kind="stable")[:count]]
    return Mistakes(
        np.asarray(split.features)[worst],
        labels[worst],
        predictions[worst],
        np.exp(-example_losses[worst]),
    )


def predictions(
    split: Split, network: Network, spec: DatasetSpec, count: int = 18
) -> Predictions | None:
    """Returns predicted numbers.

    It takes a pass over the whole split, on this rank alone.

    Args:
        split: the split, as tensors, of examples whose targets are numbers.
        network: what predicts them.
        spec: shapes of the data set, and the normalization of its targets.
        count: most examples with large errors to return.

    Returns:
        The predictions; None if the outputs of a network with a loss of its own are not
        in the shape of the targets.
    """
    outputs = tf.concat(list(_outputs(split.features, network, spec)), axis=0)
    targets = np.asarray(split.targets)
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
        Errors(np.asarray(split.features)[worst], predicted[worst], targets[worst]),
    )


def _row(spec: DatasetSpec) -> tuple[int, ...]:
    """Returns the shape in which the deviations of targets are divided by."""
    return spec.target_shape if isinstance(spec.target_std, tuple) else ()


def _outputs(
    features: tf.Tensor, network: Network, spec: DatasetSpec
) -> Iterator[tf.Tensor]:
    for first in range(0, len(features), _CHUNK):
        yield network.outputs(normalize(features[first : first + _CHUNK], spec))
