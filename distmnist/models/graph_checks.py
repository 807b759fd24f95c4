"""Refuses what would silently differ between ranks, when a network is traced.

A network's graph must not hold random numbers that depend on anything but seed and
position, and must not change variables that no checkpoint has.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from distmnist.core import user_code
from distmnist.core.errors import InputError

# Operations whose random numbers depend on how often they ran, in this process.
_RANDOM = re.compile(
    r"(Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|GammaGrad|Poisson"
    r"|PoissonV2|Crop)|ParameterizedTruncatedNormal|TruncatedNormal|Multinomial"
    r"|Stateful(Random|StandardNormal|TruncatedNormal|Uniform)\w*"
    r"|NonDeterministicInts|RngSkip|RngReadAndSkip"
    r"|\w*CandidateSampler)"
)
_ASSIGN = re.compile(r"Assign(Add|Sub)?VariableOp|Resource(Scatter|StridedSlice)\w+")


@contextlib.contextmanager
def rank_invariant(
    label: str, variables: Mapping[str, tf.Variable], generators: Mapping[int, str]
) -> Iterator[None]:
    """Checks the operations that are added to the graph inside, those of training.

    Args:
        label: name of the network, for messages.
        variables: the network's variables, by name.
        generators: names of Keras layers with a random generator, by the id of its
            state's handle.

    Raises:
        InputError: one would depend on the rank.
    """
    if tf.executing_eagerly():
        yield
        return
    graph = tf.compat.v1.get_default_graph()
    before, seen = len(graph.get_operations()), set(map(id, _read(graph)))
    yield
    handles = {id(variable.handle) for variable in variables.values()}
    hidden = [
        variable
        for variable in _read(graph)
        if id(variable) not in seen and id(variable.handle) not in handles
    ]
    for variable in hidden:
        layer = generators.get(id(variable.handle))
        if layer or "seed_generator" in variable.name:
            raise InputError(
                f"Keras layer {layer or 'or keras.random'}: its random numbers depend "
                "on how often it was called, and so on the number of ranks; use "
                "keras.layers.Dropout or SpatialDropout, or distmnist.models.dropout"
            )
    for operation, inner in _operations(graph, before):
        if _RANDOM.fullmatch(operation.type):
            raise InputError(
                f"{_place(operation, label)}: {operation.type} draws other random "
                "numbers on each rank and after a resumption; use "
                "distmnist.models.dropout, or stateless functions of the seed and the "
                "position; in an augmentation, its argument random"
            )
        if _ASSIGN.fullmatch(operation.type):
            handle = _external(operation.inputs[0], inner)
            if handle is not None and id(handle) not in handles:
                raise InputError(
                    f"{_place(operation, label)}: creates or changes a variable that "
                    "was not one of the network's before, so that no checkpoint has "
                    "it; create it in __init__, as an attribute"
                )
    for variable in hidden:
        raise InputError(
            f"network {label}: computes with the variable {_name(variable)}, which is "
            "not one of its own, so that it is neither trained nor saved; create it in "
            "__init__, as an attribute (or the layer or tf.Module that has it)"
        )


def _place(operation: Any, label: str) -> str:
    return user_code.location(operation.traceback) or f"network {label}"


def _read(graph: Any) -> list[tf.Variable]:
    """Returns the variables that a graph uses, in the order of their names."""
    return sorted(getattr(graph, "_watched_variables", ()), key=_name)


def _name(variable: tf.Variable) -> str:
    return str(variable.name.partition(":")[0])


def _operations(graph: Any, first: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yields operations and their graph, those of functions that they call, too."""
    for operation in graph.get_operations()[first:]:
        yield operation, graph
        for attribute in ("body", "then_branch", "else_branch", "f"):
            with contextlib.suppress(ValueError, AttributeError, KeyError):
                name = operation.get_attr(attribute).name
                yield from _operations(graph._get_function(name).graph)


def _external(tensor: Any, graph: Any) -> Any:
    """Returns the variable's handle that a graph captured as a tensor; None if none."""
    while hasattr(graph, "captures"):
        outer = next((o for o, inner in graph.captures if inner is tensor), None)
        if outer is None or not hasattr(outer, "graph"):
            return outer
        tensor, graph = outer, graph.outer_graph
    return None
