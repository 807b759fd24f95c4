"""Which variables weight decay applies to."""

from __future__ import annotations

import re
from collections.abc import Mapping

import tensorflow as tf

from distmnist.core.errors import InputError


def decayed(which: str, variables: Mapping[str, tf.Variable]) -> list[bool]:
    """Returns which variables are decayed, in their order.

    Args:
        which: --weight_decay_on. "auto": those of two or more dimensions, as biases and
            the scales and offsets of normalization layers have one; "all"; or a regular
            expression that is searched for in the names.
        variables: trainable variables by name.

    Raises:
        InputError: the expression is found in no name.
    """
    if which == "auto":
        return [variable.shape.rank > 1 for variable in variables.values()]
    pattern = re.compile("" if which == "all" else which)
    found = [bool(pattern.search(name)) for name in variables]
    if not any(found):
        raise InputError(
            f"flag --weight_decay_on={which}: is in the name of no variable; they are "
            f"{', '.join(variables)}"
        )
    return found
