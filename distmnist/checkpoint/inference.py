"""Inference from a checkpoint: finds it, loads its network, predicts targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import tensorflow as tf

from distmnist.checkpoint import format
from distmnist.checkpoint.format import Checkpoint
from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.core.registry import DATASETS, MODELS
from distmnist.core.run_directory import RunDirectory
from distmnist.data import loading
from distmnist.data.spec import DatasetSpec
from distmnist.data.tensors import normalize, restore_targets
from distmnist.distributed.cluster import Cluster
from distmnist.models import registry
from distmnist.models.network import Network
from distmnist.optim import moving_average


class Saved(NamedTuple):
    """A checkpoint, of which rank 0 alone has the files.

    Attributes:
        path: without suffix.
        step: completed steps.
        config: configuration of the run, with its current log_dir.
        dataset: name, source and fingerprint of the data set.
        spec: shapes and classes of the data set.
        own_network: whether the network is another than the configuration names.
        directory: working directory of the run; "" if unknown.
        model_is_given: whether `config.model` is this user's, not the checkpoint's.
        raw_weights: whether the parameters are used even if there is an average.
        checkpoint: its open files; None on other ranks.
    """

    path: str
    step: int
    config: Config
    dataset: dict[str, str]
    spec: DatasetSpec
    own_network: bool = False
    directory: str = ""
    model_is_given: bool = False
    raw_weights: bool = False
    checkpoint: Checkpoint | None = None

    def of_model(self, model: str) -> Saved:
        """Returns the same with another --model.

        Args:
            model: name of the network.
        """
        config = dataclasses.replace(self.config, model=model)
        return self._replace(config=config, own_network=False, model_is_given=True)


def find(
    log_dir: str,
    cluster: Cluster,
    model: str | None = None,
    raw_weights: bool = False,
) -> Saved:
    """Finds the newest checkpoint of a run, which may go on; all ranks must call it.

    Rank 0 alone reads: the others need no file system in common with it.

    Args:
        log_dir: run directory.
        cluster: the ranks.
        model: replaces the run's --model; None: the run's.
        raw_weights: use the parameters, not their moving average, if there is one.

    Raises:
        InputError: on all ranks, if there is none, or it cannot be read.
    """
    opened: list[Checkpoint] = []
    saved: Saved = cluster.run_on_root(lambda: _find(log_dir, opened))
    if opened:
        saved = saved._replace(checkpoint=opened[0])
    saved = saved._replace(raw_weights=raw_weights)
    return saved if model is None else saved.of_model(model)


def _find(log_dir: str, opened: list[Checkpoint]) -> Saved:
    """Returns the newest checkpoint of a run, without its files, which are appended."""
    try:
        found = format.latest(RunDirectory(log_dir))
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: cannot be read ({error.strerror}); name the "
            "directory of a run"
        ) from None
    if found is None:
        raise InputError(
            f"flag --log_dir={log_dir}: contains no checkpoint; name the directory of "
            "a run"
        )
    opened.append(found)
    metadata = found.metadata
    try:
        config = Config(**{**_known_fields(metadata.config), "log_dir": log_dir})
    except InputError as error:
        raise InputError(
            f"checkpoint {found.path}: its configuration is invalid ({error}); name "
            "the directory of another run"
        ) from None
    if metadata.spec is None and config.dataset not in DATASETS:
        raise InputError(
            f"checkpoint {found.path}: does not say of what shape its data are; name "
            "the directory of another run"
        )
    return Saved(
        found.path,
        metadata.step,
        config,
        msgspec.structs.asdict(metadata.dataset),
        # Version 0.1 did not save it.
        metadata.spec or loading.find_source(config).spec,
        metadata.own_network,
        metadata.directory,
    )


def _known_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that this version's Config has."""
    known = {field.name for field in dataclasses.fields(Config)}
    return {name: value for name, value in values.items() if name in known}


def load(saved: Saved, cluster: Cluster, network: Any = None) -> Network:
    """Creates the network of a checkpoint, with its values; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: the ranks.
        network: replaces the one that --model names; see `models.registry.create`.

    Raises:
        InputError: on all ranks, if there is no such network on one, the checkpoint
            names the user's code, or it cannot be read.
    """
    config = saved.config
    if network is None:
        _check_model(saved)
    if network is None and config.model in MODELS:
        # Before memory is taken for variables of any size that it may name.
        cluster.run_on_root(lambda: _check_network(saved, _shapes(saved)))
    created = cluster.run_collectively(
        lambda: registry.create(config, saved.spec, network=network)
    )
    registry.assert_same_variables(created, cluster)
    variables = created.named_variables

    def read() -> None:
        assert saved.checkpoint
        if network is None:
            shapes = {name: v.shape.as_list() for name, v in variables.items()}
            _check_network(saved, shapes)
        averages = {} if saved.raw_weights else saved.checkpoint.shapes
        names = {name: f"{moving_average.PREFIX}{name}" for name in variables}
        saved.checkpoint.restore(
            {names[n] if names[n] in averages else n: v for n, v in variables.items()}
        )

    cluster.run_on_root(read)
    cluster.broadcast_variables(list(variables.values()))
    return created


def _check_model(saved: Saved) -> None:
    """Raises InputError, on all ranks, if this user has to name the network."""
    model = saved.config.model
    if saved.own_network:
        raise on_all_ranks(
            InputError(
                f"flag --log_dir={saved.config.log_dir}: fit was given the run's "
                "network as an object; name it by --model=package.module:name"
            )
        )
    if model not in MODELS and not saved.model_is_given:
        raise on_all_ranks(
            InputError(
                f"checkpoint {saved.path} names {model!r} as its network; code is "
                f"imported only if you name it: give --model={model}, if you trust it"
            )
        )


def _shapes(saved: Saved) -> dict[str, list[int]]:
    """Returns the shapes of the variables of a registered network."""
    with tf.Graph().as_default():  # in which nothing is computed
        network = registry.create(saved.config, saved.spec)
        variables = network.named_variables
        return {name: variable.shape.as_list() for name, variable in variables.items()}


def _check_network(saved: Saved, shapes: Mapping[str, list[int]]) -> None:
    """Raises InputError if a checkpoint is of another network than --model names."""
    assert saved.checkpoint
    for name, shape in shapes.items():
        if saved.checkpoint.shapes.get(name) != shape:
            raise InputError(
                f"checkpoint {saved.path} is not of --model={saved.config.model}: it "
                f"has no variable {name} of shape {shape}; if distmnist.fit was given "
                "the network as an object, name it by --model=package.module:name"
            )


def load_predictor(saved: Saved, cluster: Cluster) -> Predictor:
    """Creates the predictor of a checkpoint; all ranks must call it; see `load`."""
    return Predictor(load(saved, cluster), saved.spec)


class Predictor(tf.Module):  # type: ignore[misc]
    """Predicts the targets of examples in the form of the data set.

    Attributes:
        spec: shapes and classes of the data set.
    """

    def __init__(self, network: Network, spec: DatasetSpec):
        """Wraps a network.

        Args:
            network: its variables may continue to change.
            spec: shapes and classes of the data set.
        """
        super().__init__()
        self.spec = spec
        self._network = network
        # The name of the input is that of the exported signature.
        name = "images" if spec.is_image else "features"
        signature = tf.TensorSpec(None, spec.feature_dtype, name=name)
        self._predict = tf.function(self._outputs, input_signature=[signature])

    def __call__(self, features: Any) -> dict[str, tf.Tensor]:
        """Predicts.

        Args:
            features: uint8, int32 or float32 [n, ...], as in the data set, in the
                spec's shape or flat.

        Returns:
            For classes, "class": int32 [n, *target_shape], the class of the highest
            probability, and "probabilities": float32 [n, *target_shape, num_classes].
            For numbers, "prediction": float32 [n, *target_shape], in the units of the
            targets. If a network with a loss of its own returns anything else,
            "outputs": what it returns.
        """
        outputs: dict[str, tf.Tensor] = self._predict(features)
        return outputs

    @property
    def signature(self) -> Any:
        """The function that is exported."""
        return self._predict

    def _outputs(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        # Fails on examples of any other size.
        shape = [tf.shape(features)[0], *self.spec.feature_shape]
        outputs = self._network.outputs(
            normalize(tf.reshape(features, shape), self.spec)
        )
        expected = [*self.spec.target_shape]
        if self.spec.num_classes is not None:
            expected.append(self.spec.num_classes)
        if not outputs.shape[1:].is_compatible_with(expected):
            return {"outputs": outputs}
        if self.spec.num_classes is None:
            return {"prediction": restore_targets(outputs, self.spec)}
        return {
            "class": tf.argmax(outputs, axis=-1, output_type=tf.int32),
            "probabilities": tf.nn.softmax(outputs),
        }
