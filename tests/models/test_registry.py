"""How networks are found by name, and created."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import tensorflow as tf

import distmnist
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.spec import DatasetSpec
from distmnist.models import registry
from distmnist.models.cnn import Cnn
from distmnist.models.mlp import Mlp
from distmnist.models.network import Network
from tests.launching import run

SPEC = DatasetSpec((4, 6, 3), 2, ("dark", "light"))


class FixedShapes(Network):
    """A network that takes the configuration alone."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.taken: Any = config
        self.weight = tf.Variable(1.0, name="weight")


class Adaptive(Network):
    """A network that takes the spec too."""

    def __init__(self, config: Config, spec: DatasetSpec):
        super().__init__(config, spec)
        self.taken: Any = spec
        self.weight = tf.Variable(1.0, name="weight")


class Wider(Adaptive):
    """A network that passes its arguments on."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)


class WithOption(Network):
    """A network whose second argument is not the spec."""

    def __init__(self, config: Config, units: int = 7):
        super().__init__(config)
        self.taken: Any = units
        self.weight = tf.Variable(1.0, name="weight")


class Bare(Network):
    """A network that creates its variables elsewhere."""


class DuplicateNames(Network):
    """A network with two variables of one name."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.both = [tf.Variable(1.0), tf.Variable(2.0)]


def test_duplicate_variable_names_are_refused() -> None:
    with pytest.raises(InputError, match="two variables are named Variable; give"):
        _ = DuplicateNames(Config()).named_variables


def test_finds_networks_by_name_and_in_any_module() -> None:
    assert registry.find("mlp") is Mlp
    assert registry.find("cnn") is Cnn
    assert registry.find("tests.models.test_registry:Adaptive") is Adaptive


def test_the_spec_is_passed_to_the_networks_that_take_it() -> None:

    def taken(network: type[Network]) -> Any:
        name = f"tests.models.test_registry:{network.__name__}"
        created = registry.create(Config(model=name), SPEC)
        assert type(created) is network
        return created.taken

    assert taken(FixedShapes).hidden1 == Config().hidden1
    assert taken(Adaptive) is SPEC
    assert taken(Wider) is SPEC
    assert taken(WithOption) == 7
    with pytest.raises(InputError, match="network Bare: has no trainable variables"):
        taken(Bare)


def test_the_public_base_class_is_the_one_that_is_checked_for() -> None:
    assert distmnist.Network is Network


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rnn", "must be mlp, cnn or package.module:attribute"),
        (":Class", "must be mlp, cnn or package.module:attribute"),
        ("no.such.module:Class", "cannot import no.such.module"),
        ("tests.models.test_registry:Missing", "test_registry has no Missing"),
        ("tests.models.test_registry:Config", "a Config, which is not a network"),
        ("tests.models.test_registry:SPEC", "a DatasetSpec, which is not a network"),
    ],
)
def test_an_unknown_name_is_reported_in_one_line(wrong: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--model={wrong}: .*{message}") as caught:
        registry.create(Config(model=wrong), SPEC)
    assert "\n" not in str(caught.value)


CREATE = """
import sys
from distmnist.distributed import devices
devices.import_tensorflow()
if sys.argv[1] == "keras":
    import keras
from distmnist import Config, DatasetSpec
from distmnist.models import registry
config = Config(model="tests.problems:regressor")
network = registry.create(config, DatasetSpec((5,), None))
print([v.numpy().ravel().tolist() for v in network.named_variables.values()])
"""


def test_initial_values_do_not_depend_on_what_was_imported() -> None:
    # Several ranks import Keras before their network, and a single process need not.
    first, second = (
        run((sys.executable, "-c", CREATE, before)).stdout
        for before in ("keras", "nothing")
    )
    assert first == second and len(first) > 100
