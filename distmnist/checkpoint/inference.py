"""Inference from a checkpoint: finds it, loads its network, predicts targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from distmnist.checkpoint import format
from distmnist.core.config import Config
from distmnist.core.errors import InputError, on_all_ranks
from distmnist.core.run_directory import RunDirectory
from distmnist.data import loading
from distmnist.data.dataset import Dataset, DatasetSpec
from distmnist.data.tensors import normalize, restore_targets
from distmnist.distributed.cluster import Cluster
from distmnist.models import registry
from distmnist.models.network import Network


class Saved(NamedTuple):
    """A checkpoint's metadata.

    Attributes:
        path: without suffix.
        step: completed steps.
        config: configuration of the run, with its current log_dir.
        dataset: name, source and fingerprint of the data set.
        spec: shapes and classes of the data set.
        own_network: whether the network is another than the configuration names.
    """

    path: str
    step: int
    config: Config
    dataset: dict[str, str]
    spec: DatasetSpec
    own_network: bool = False

    def of_model(self, model: str) -> Saved:
        """Returns the same with another --model.

        Args:
            model: name of the network.
        """
        config = dataclasses.replace(self.config, model=model)
        return self._replace(config=config, own_network=False)


def find(log_dir: str, cluster: Cluster, model: str | None = None) -> Saved:
    """Finds the newest checkpoint of a run; all ranks must call it.

    Rank 0 alone reads: the others need no file system in common with it.

    Args:
        log_dir: run directory.
        cluster: the ranks.
        model: replaces the run's --model; None: the run's.

    Raises:
        InputError: on all ranks, if there is none, or it cannot be read.
    """
    saved: Saved = cluster.run_on_root(lambda: _find(log_dir))
    return saved if model is None else saved.of_model(model)


def _find(log_dir: str) -> Saved:
    try:
        path = format.latest(RunDirectory(log_dir))
    except OSError as error:
        raise InputError(
            f"flag --log_dir={log_dir}: cannot be read ({error.strerror}); name the "
            "directory of a run"
        ) from None
    if path is None:
        raise InputError(
            f"flag --log_dir={log_dir}: contains no checkpoint; name the directory of "
            "a run"
        )
    metadata = format.read_metadata(path)
    config = Config(**{**_known_fields(metadata["config"]), "log_dir": log_dir})
    spec = (
        DatasetSpec.from_json(metadata["spec"])
        if "spec" in metadata
        else loading.find_source(config).spec  # version 0.1 did not save it
    )
    own_network = metadata.get("own_network", False)
    return Saved(path, metadata["step"], config, metadata["dataset"], spec, own_network)


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
        InputError: on all ranks, if there is no such network on one, or the
            checkpoint cannot be read.
    """
    config = saved.config
    if saved.own_network and network is None:
        raise on_all_ranks(
            InputError(
                f"flag --log_dir={config.log_dir}: fit was given the run's network as "
                "an object; name it by --model=package.module:name"
            )
        )
    created = cluster.run_collectively(
        lambda: registry.create(config, saved.spec, network=network)
    )
    registry.assert_same_variables(created, cluster)
    variables = created.named_variables

    def read() -> None:
        if network is None:
            _check_network(saved, variables)
        format.read(saved.path, variables)

    cluster.run_on_root(read)
    cluster.broadcast_variables(list(variables.values()))
    return created


def _check_network(saved: Saved, variables: Mapping[str, tf.Variable]) -> None:
    """Raises InputError if a checkpoint is of another network than --model names."""
    shapes = format.read_shapes(saved.path)
    for name, variable in variables.items():
        if shapes.get(name) != variable.shape.as_list():
            raise InputError(
                f"checkpoint {saved.path} is not of --model={saved.config.model}: it "
                f"has no variable {name} of shape {variable.shape.as_list()}; if "
                "distmnist.fit was given the network as an object, name it by "
                "--model=package.module:name"
            )


def load_predictor(saved: Saved, cluster: Cluster) -> Predictor:
    """Creates the predictor of a checkpoint; all ranks must call it; see `load`."""
    return Predictor(load(saved, cluster), saved.spec)


def load_dataset(
    saved: Saved,
    cluster: Cluster,
    input_data_dir: str | None = None,
    dataset: str | None = None,
) -> Dataset:
    """Loads the data set that a checkpoint was trained on; all ranks must call it.

    Args:
        saved: the checkpoint.
        cluster: the ranks.
        input_data_dir: directory of the data files; None: where the run read them.
        dataset: replaces the run's --dataset, for data that are elsewhere now.

    Raises:
        UserError: on all ranks, if the data set is missing, or another one.
    """
    config = dataclasses.replace(
        saved.config,
        input_data_dir=input_data_dir or saved.config.input_data_dir,
        dataset=dataset or saved.config.dataset,
    )
    name, fingerprint = saved.dataset["name"], saved.dataset["fingerprint"]
    return loading.load_matching(config, cluster, name, fingerprint, saved.path)


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
