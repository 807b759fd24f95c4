"""Compares what ranks observed, and says in one paragraph what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distmnist.testing.problem import Observed, Values

# Rounding, relative to what a step changes: after the first step, and after the last,
# when rounding may have decided a maximum or a ReLU in another way.
_FIRST, _LAST = 1e-3, 3e-2
_LOSS, _METRIC = 1e-4, 1e-3
_ROUGH = 50.0  # times as much in float16 or bfloat16

_DRAW = (
    "draw from the seed and the position alone, as distmnist.models.dropout does, with "
    "stateless functions"
)


def judge(label: str, observed: Mapping[int, Sequence[Observed]]) -> str | None:
    """Returns what does not hold; None if everything does.

    Args:
        label: name of the network.
        observed: what each rank observed, by the number of ranks.
    """
    for reason in _reasons(observed):
        return f"network {label}: {reason.removeprefix(f'network {label}: ')}"
    return None


def _reasons(observed: Mapping[int, Sequence[Observed]]) -> Iterator[str]:
    """Yields what does not hold, causes before their consequences."""
    for size, ranks in observed.items():
        for rank in ranks:
            if rank.error:
                everywhere = all(r.error for rs in observed.values() for r in rs)
                yield rank.error if everywhere else f"on {_ranks(size)}: {rank.error}"
    everyone = [rank for ranks in observed.values() for rank in ranks]
    first = everyone[0]
    for other in everyone:
        yield from _initial(first, other)
        yield from _variables(other)
        yield from _repeats(other)
    for size, ranks in observed.items():
        yield from _identical(size, ranks)
        yield from _resumed(size, ranks[0])
    sizes = list(observed)
    for size in sizes[1:]:
        one, many = observed[sizes[0]][0], observed[size][0]
        if one.exact and many.exact:
            yield from _equal(sizes[0], one, size, many)


def _initial(first: Observed, other: Observed) -> Iterator[str]:
    for initial, values, where in (
        (first.initial, other.initial, "in another process"),
        (other.initial, other.again, "when it is created a second time"),
    ):
        if list(values) != list(initial):
            ours, theirs = list(initial), list(values)
            differing = sorted(set(ours) ^ set(theirs)) or theirs
            yield (
                f"its variables have other names or another order {where} "
                f"({', '.join(differing)}): give them fixed names, and create them in "
                "a fixed order"
            )
            return
        for name, value in values.items():
            if not np.array_equal(value, initial[name]):
                yield (
                    f"variable {name}: its initial value is another one {where}: draw "
                    "it when the network is created, from config.seed (also "
                    "np.random.default_rng takes a seed)"
                )


def _variables(observed: Observed) -> Iterator[str]:
    if observed.created_later:
        yield (
            f"variable {observed.created_later[0]}: did not exist before training, so "
            "that it is not trained or saved; create all variables in __init__"
        )
    if observed.unused:
        yield (
            f"variable {', '.join(observed.unused)}: the loss does not depend on it, "
            "so that training does not change it; use it in the network, or make it "
            "trainable=False"
        )


def _repeats(observed: Observed) -> Iterator[str]:
    once, again, elsewhere = observed.repeats
    if not _close(once, again, _LOSS):
        yield (
            f"the loss of one batch at one position is {once:.6g}, and then "
            f"{again:.6g}: something is random, or counts calls, in Python functions "
            f"(tf.py_function, tf.numpy_function): {_DRAW}"
        )
    if not _close(once, elsewhere, _LOSS):
        yield (
            f"the loss of one batch at one position is {once:.6g}, and {elsewhere:.6g} "
            "once the network is traced again: __call__, loss or the augmentation "
            f"uses Python's or NumPy's random numbers, a counter or the time: {_DRAW}"
        )


def _identical(size: int, ranks: Sequence[Observed]) -> Iterator[str]:
    for step, sums in enumerate(zip(*(rank.sums for rank in ranks)), 1):
        for name, value in sums[0].items():
            others = [r for r, own in enumerate(sums) if own[name] != value]
            if others:
                yield (
                    f"variable {name}: differs between ranks 0 and {others[0]} of "
                    f"{size} after step {step}: it is set to what depends on the "
                    "rank's own examples; use Network.mean_over_ranks"
                )


def _resumed(size: int, observed: Observed) -> Iterator[str]:
    for name, value in observed.whole.items():
        if not np.array_equal(value, observed.resumed[name]):
            yield (
                f"variable {name}: differs after a run that was interrupted and "
                f"resumed, on {_ranks(size)}: something that training depends on is "
                "no variable of the network, and so not in the checkpoint; make it an "
                "attribute, a tf.Variable"
            )


def _equal(one_size: int, one: Observed, size: int, many: Observed) -> Iterator[str]:
    """Yields what `size` ranks compute that one, or the fewest, does not."""
    cause = _cause(one)
    more = _ROUGH if one.rough else 1.0
    than = f"{_ranks(size)} than {_ranks(one_size)}, with the same global batch"
    if not _close(one.losses[0], many.losses[0], more * _LOSS):
        yield (
            f"the loss of the first step is {many.losses[0]:.6g} on {_ranks(size)}, "
            f"but {one.losses[0]:.6g} on {_ranks(one_size)}, with the same global "
            f"batch: {cause}"
        )
    for step, tolerance, values, others in (
        ("the first step", _FIRST, one.first, many.first),
        ("the last step", _LAST, one.whole, many.whole),
    ):
        name, error = _greatest_error(one.initial, values, others)
        if error > more * tolerance:
            yield (
                f"variable {name}: {step} changes it otherwise on {than} (by "
                f"{100 * error:.2g} % of its change): {cause}"
            )
    for metric, value in many.metrics.items():
        if not _close(value, one.metrics[metric], _METRIC + error):
            yield (
                f"metric {metric} is {value:.6g} on {_ranks(size)}, but "
                f"{one.metrics[metric]:.6g} on {_ranks(one_size)}: metrics must return "
                "the sum over the batch and the number of examples, not a mean"
            )


def _cause(one: Observed) -> str:
    """Returns why ranks compute something else, judging by batches on one rank."""
    whole, *halves = one.parts
    if one.outputs_differ:
        return (
            "the outputs for an example depend on the others of its batch, or on its "
            "place in it: compute what is of the whole batch with "
            "Network.mean_over_ranks, and draw random numbers at the position, as "
            "distmnist.models.dropout does"
        )
    if _close(whole, sum(halves), _LOSS) and not _close(whole, 0, 1e-8):
        return (
            "the loss of a batch is the sum of its halves' losses, not their mean: "
            "return a mean over the examples of a batch, or the loss of each"
        )
    if not _close(whole, sum(halves) / 2, _LOSS):
        return (
            f"the loss of a batch is {whole:.6g}, but those of its halves are "
            f"{halves[0]:.6g} and {halves[1]:.6g}: a loss must be a mean over "
            "examples, of which none depends on the others or on their number"
        )
    return (
        "something depends on the rank, on the number of ranks or on the size of a "
        "batch"
    )


def _greatest_error(start: Values, one: Values, many: Values) -> tuple[str, float]:
    """Returns the variable that differs most, and by how much of its change."""
    changes: dict[str, float] = {
        name: _greatest(value - start[name]) for name, value in _floats(one)
    }
    greatest = max(changes.values(), default=0.0)
    errors: dict[str, float] = {}
    for name, value in _floats(one):
        difference: float = _greatest(value - many[name])
        rounding = 8 * float(np.finfo(value.dtype).eps) * _greatest(value)
        # A change that is tiny among the others is one of rounding.
        scale: float = changes[name] + 1e-2 * greatest
        errors[name] = max(0.0, difference - rounding) / (scale or 1.0)
    name = max(errors, key=errors.__getitem__, default="")
    return name, errors.get(name, 0.0)


def _floats(values: Values) -> list[tuple[str, NDArray[np.floating]]]:
    return [(n, v) for n, v in values.items() if v.dtype.kind == "f" and v.size]


def _greatest(values: NDArray[np.floating]) -> float:
    return float(np.abs(values).max())


def _close(a: float, b: float, tolerance: float) -> bool:
    return bool(np.isclose(a, b, rtol=tolerance, atol=1e-7, equal_nan=True))


def _ranks(size: int) -> str:
    return "1 rank" if size == 1 else f"{size} ranks"
