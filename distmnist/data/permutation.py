"""A pseudorandom permutation of any size, computed index by index, in constant memory.

A Feistel network over pairs of digits: index = high * base + low, where base is about
the square root of the size. Each round adds a hash of one digit to the other, modulo
the other's base, which can be undone, so that the network is a bijection whatever the
hash is. The few pairs that are no index are permuted again until they are one (cycle
walking). See J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA
2002, methods 2 and 3. The hash is the finalizer of MurmurHash3, keyed: this is for
shuffling, and no cipher.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_CHUNK = 1 << 15  # indices at a time, so that what is computed of them stays in cache

MAX_SIZE = 1 << 60
"""Size up to which the digits are less than 2**31, so that a sum of two fits."""


def permuted(
    indices: NDArray[np.int64], size: int, key: tuple[int, ...]
) -> NDArray[np.int64]:
    """Returns where a permutation of [0, size) takes indices.

    Args:
        indices: in [0, size), int64 [n].
        size: in [1, MAX_SIZE].
        key: chooses the permutation; each in [0, 2**32).

    Returns:
        Their images, int64 [n].
    """
    low = math.isqrt(size - 1) + 1  # rounded up
    bases = (-(-size // low), low)
    # The stream of RandomState is frozen (NumPy's NEP 19).
    keys = np.random.RandomState(key).randint(1 << 32, size=_ROUNDS, dtype=np.uint32)
    result = np.empty(len(indices), np.int64)
    for first in range(0, len(indices), _CHUNK):
        part = _network(indices[first : first + _CHUNK], bases, keys)
        while len(outside := np.flatnonzero(part >= size)):
            part[outside] = _network(part[outside], bases, keys)
        result[first : first + _CHUNK] = part
    return result


def _network(
    indices: NDArray[np.int64], bases: tuple[int, int], keys: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """Permutes [0, product of the bases)."""
    digits = [digit.astype(np.uint32) for digit in np.divmod(indices, bases[1])]
    for number, key in enumerate(keys):
        changed = number % 2
        digit, base = digits[changed], bases[changed]
        digit += _hash(digits[1 - changed], key, base)
        # Where the sum is less than the base, the difference wraps around.
        np.minimum(digit, digit - np.uint32(base), out=digit)
    return digits[0].astype(np.int64) * bases[1] + digits[1]


def _hash(digits: NDArray[np.uint32], key: np.uint32, base: int) -> NDArray[np.uint32]:
    """Returns a keyed hash of each digit, in [0, base)."""
    mixed = digits ^ key
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    # As a fraction of 2**32, times the base: no division.
    scaled = mixed.astype(np.uint64) * np.uint64(base) >> np.uint64(32)
    return scaled.astype(np.uint32)
