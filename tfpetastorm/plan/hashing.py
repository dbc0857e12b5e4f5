"""Hashes that are the same on every machine, in every process and in every release of NumPy.

`numpy.random` keeps its bit streams between releases but not what `permutation` makes of them (NEP 19), so
whatever an order or a split rests on is hashed here instead.
"""

from __future__ import annotations

import hashlib

import numpy as np

from tfpetastorm.schema.columns import Array

#: The step of splitmix64's state: 2**64 divided by the golden ratio.
_GAMMA = 0x9E3779B97F4A7C15


def mix64(values: Array) -> Array:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), elementwise: uint64 to uint64, a bijection."""
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64)
        x += np.uint64(_GAMMA)
        # In place: whole blocks are hashed on the way to a batch, and new memory costs as much as the arithmetic.
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        return x


def random64(key: np.uint64, size: int) -> Array:
    """uint64 `[size]`: the first numbers of splitmix64 from the state `key`."""
    with np.errstate(over="ignore"):
        return mix64(np.arange(size, dtype=np.uint64) * np.uint64(_GAMMA) + key)


def key64(*parts: int | str) -> np.uint64:
    """One uint64 for a tuple of integers and strings; distinct tuples collide with probability 2**-64."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def hash_rows(key: np.uint64, start: int, stop: int) -> Array:
    """uint64 `[stop - start]`: a hash of each row number from `start` on, under `key`."""
    rows = np.arange(start, stop, dtype=np.uint64)
    return mix64(mix64(rows) ^ key)
