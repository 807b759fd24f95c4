"""The computed permutation: a bijection of any size, as random as it looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distmnist.data import permutation
from distmnist.data.permutation import MAX_SIZE, permuted

PRIMES = [2, 3, 5, 7, 31, 127, 1009, 8191, 65521, 99991]
POWERS = [1 << bits for bits in range(18)]
SIZES = sorted({n + d for n in POWERS + PRIMES for d in (-1, 0, 1)} - {0})


@given(st.sampled_from(SIZES) | st.integers(1, 10**5), st.integers(0, 2**32 - 1))
def test_each_index_once(size: int, seed: int) -> None:
    images = permuted(np.arange(size), size, (seed, 0))
    np.testing.assert_array_equal(np.sort(images), np.arange(size))


@given(st.integers(1, MAX_SIZE), st.integers(0, 2**32 - 1))
def test_images_of_any_size_are_indices_and_differ(size: int, seed: int) -> None:
    count = min(size, 1000)
    indices = np.unique(np.linspace(0, size - 1, count, dtype=np.int64).clip(0))
    images = permuted(indices, size, (seed,))
    assert images.min() >= 0
    assert images.max() < size
    assert len(np.unique(images)) == len(indices)


def test_each_index_alone_gives_what_all_give() -> None:
    size = 3 * permutation._CHUNK + 17
    images = permuted(np.arange(size), size, (5, 6))
    some = np.arange(size - 1, 0, -777)
    np.testing.assert_array_equal(permuted(some, size, (5, 6)), images[some])


def test_it_never_changes() -> None:
    images = permuted(np.arange(10**9 - 5, 10**9), 10**9, (7, 3)).tolist()
    assert images == [636830105, 227856146, 395100734, 216432507, 341939776]


def dependence(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Returns the deviation of a contingency table, in standard deviations.

    Args:
        one: numbers in [0, 64), of each element.
        other: likewise.
    """
    table = np.bincount(one * 64 + other, minlength=64 * 64).reshape(64, 64)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    freedom = 63 * 63
    return float((chi_square - freedom) / math.sqrt(2 * freedom))


@pytest.mark.parametrize("size", [100_003, 1 << 20, 3_000_001])
def test_it_is_uniform(size: int) -> None:
    # 6 standard deviations: a random permutation fails once in 10**8 times.
    indices = np.arange(size)
    images, others = (permuted(indices, size, (0, epoch)) for epoch in (0, 1))
    base = math.isqrt(size - 1) + 1  # of the digits: what few rounds show

    def place(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers * 64 // size

    pairs = {
        "where they were": (place(indices), place(images)),
        "low bits": (indices % 64, images % 64),
        "low bits and where": (indices % 64, place(images)),
        "epochs": (place(images), place(others)),
        "high digits": (indices // base * 64 // (base + 1), images // base % 64),
        "low digits": (indices % base * 64 // base, images % base * 64 // base),
        "neighbours": (place(images[1:]), place(images[:-1])),
        "neighbours in the high digit": (place(images[base:]), place(images[:-base])),
        "steps": (indices[1:] * 64 // size, place((images[1:] - images[:-1]) % size)),
    }
    found = {what: dependence(*pair) for what, pair in pairs.items()}
    assert {what: value for what, value in found.items() if abs(value) > 6} == {}


def test_fewer_rounds_are_not_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    # So the test above can fail.
    monkeypatch.setattr(permutation, "_ROUNDS", 2)
    with pytest.raises(AssertionError):
        test_it_is_uniform(1 << 20)
