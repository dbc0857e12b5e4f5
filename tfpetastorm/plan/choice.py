"""Which of several sources comes next: weighted choices, each a pure function of (key, number of the choice).

All in whole numbers, so that the graph and NumPy, on any machine, choose alike. The graph's twin is in
`tfpetastorm/tfdata/mix.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.hashing import mix64
from tfpetastorm.schema.columns import Array

#: A draw is a whole number below 2**DRAW_BITS: with weights that sum to about as much, products stay within int64.
DRAW_BITS = 31
#: Choices looked at when the length of a mix is computed; a longer one stays unknown. 2**24 take about a second.
MOST_CHOICES = 1 << 24
_CHUNK = 1 << 16


def whole_weights(weights: Sequence[float]) -> Array:
    """int64 `[n]`: weights as whole numbers that sum to about 2**31, at least 1 where a weight is positive.

    Raises OptionError for weights that are negative, NaN, infinite, or all zero.
    """
    try:
        values = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        raise OptionError(f"weights are numbers, one a dataset, not {weights!r}.") from None
    if any(not math.isfinite(value) or value < 0 for value in values):
        raise OptionError(f"weights are finite and not negative; found {values}.")
    largest = max(values, default=0.0)
    if not largest > 0:
        raise OptionError(f"at least one weight must be positive; found {values}.")
    # Divided by the largest first, as a sum of huge weights could overflow and one of tiny ones vanish.
    total = math.fsum(value / largest for value in values)
    whole = [round(value / largest / total * 2**DRAW_BITS) for value in values]
    return np.array([max(1, n) if value else 0 for n, value in zip(whole, values, strict=True)], np.int64)


def draws(key: np.uint64, numbers: Array) -> Array:
    """int64, shaped as `numbers` (whole numbers from 0): uniform in [0, 2**31), a hash of each number under `key`."""
    hashed: Array = mix64(mix64(numbers) ^ key)
    shifted: Array = hashed >> np.uint64(64 - DRAW_BITS)
    drawn: Array = shifted.astype(np.int64)
    return drawn


def choices(key: np.uint64, numbers: Array, weights: Array) -> Array:
    """int64 `[k]`: the source that each of the choices `numbers` (`[k]`) falls on. weights: int64 `[n]`, of
    `whole_weights`."""
    edges = np.cumsum(weights)
    scaled: Array = draws(key, numbers) * edges[-1]
    return np.searchsorted(edges, scaled >> DRAW_BITS, side="right").astype(np.int64)


def length_until_empty(
    key: np.uint64, weights: Array, sizes: Sequence[int | None], most: int = MOST_CHOICES
) -> int | None:
    """How many elements come before a choice falls on a source that has none left.

    weights: int64 `[n]`, of `whole_weights`. sizes: elements of each source, None for endless. Returns None where all
    are endless, or the end lies beyond `most` choices.
    """
    left = {i: size for i, size in enumerate(sizes) if size is not None and weights[i]}
    if not left or min(left.values()) > most:
        return None
    for start in range(0, most, _CHUNK):
        stop = min(start + _CHUNK, most)
        chosen = choices(key, np.arange(start, stop, dtype=np.uint64), weights)
        ends = []
        for source, size in left.items():
            where = np.flatnonzero(chosen == source)
            if len(where) > size:
                ends.append(start + int(where[size]))
            left[source] = size - len(where)
        if ends:
            return min(ends)
    return None
