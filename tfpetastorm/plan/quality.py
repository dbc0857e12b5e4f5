"""How good a shuffle is, worked out from the order itself: nothing is read for it.

Three numbers tell it. How much the order read resembles the order stored; how often rows stored next to each other come
in one batch; and from how many row groups a batch is drawn. A perfect shuffle has each by chance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tfpetastorm.plan.hashing import key64, mix64
from tfpetastorm.schema.columns import Array

#: Stretches of the order that a sample consists of, evenly spread over it.
_STRETCHES = 64


@dataclass(frozen=True)
class Quality:
    """correlation: between position read and position stored (Spearman's), as an absolute value, 0 to 1. together: how
    many of all pairs of stored neighbours (rows i and i + 1) come in one batch, 0 to 1. row_groups: met in a batch, on
    average."""

    correlation: float
    together: float
    row_groups: float


def measure(positions: Array, stored: Array, total: int, batch: int, borders: Array) -> Quality:
    """The quality of an order of `total` rows in batches of `batch`.

    positions: int64 `[k]`, ascending: all positions 0 … total - 1, or some whole batches of them as a sample. stored:
    int64 `[k]`, the stored number of the row at each of them. borders: int64 `[g]`, the number of rows up to the end of
    each row group.
    """
    # Sorted by batch, then by stored number; one more than `total` apart, so that batches never look like neighbours.
    keys = positions // batch * (total + 1) + stored
    keys.sort()
    batches, numbers = np.divmod(keys, total + 1)
    same = batches[1:] == batches[:-1]
    pairs = int((same & (np.diff(keys) == 1)).sum())
    groups = np.searchsorted(borders, numbers, "right")
    met = 1 + int((~same | (np.diff(groups) > 0)).sum())
    count = 1 + int((~same).sum())
    return Quality(
        correlation=_correlation(positions, stored),
        together=pairs / len(positions) * total / max(1, total - 1),
        row_groups=met / count,
    )


def perfect(total: int, batch: int, borders: Array) -> Quality:
    """What to expect of a perfect shuffle: every order equally likely. `correlation` is approximate."""
    # Sizes of batches, and how many there are of each.
    sizes = {batch: total // batch, total % batch: 1}
    sizes = {size: count for size, count in sizes.items() if size and count}
    pairs = sum(count * size * (size - 1) for size, count in sizes.items())
    groups, times = np.unique(np.diff(borders, prepend=0), return_counts=True)
    met = 0.0
    for size, count in sizes.items():
        for group, number in zip(groups.tolist(), times.tolist(), strict=True):
            met += count * number * (1 - _none_of(total, group, size))
    return Quality(
        correlation=min(1.0, math.sqrt(2 / (math.pi * max(1, total - 1)))),
        together=pairs / (total * max(1, total - 1)),
        row_groups=met / sum(sizes.values()),
    )


def sampled_positions(total: int, batch: int, most: int, seed: int) -> Array:
    """int64, ascending: all positions if they are at most `most`, else about as many in whole batches, in stretches
    spread over the order."""
    batches = total // batch
    if total <= most or not batches:
        return np.arange(total, dtype=np.int64)
    stretches = min(_STRETCHES, batches, max(1, most // batch))
    length = min(max(1, most // (batch * stretches)), batches // stretches)
    edges = np.arange(stretches + 1) * batches // stretches
    free = np.diff(edges) - length + 1
    jitter = mix64(mix64(np.arange(stretches)) ^ key64("quality", seed)) % free.astype(np.uint64)
    first = (edges[:-1] + jitter.astype(np.int64)) * batch
    found: Array = (first[:, None] + np.arange(length * batch)).reshape(-1)
    return found


def density(positions: Array, stored: Array, total: int, bins: tuple[int, int]) -> Array:
    """float64 `bins`: how many rows lie in each cell of (position read, position stored), as a multiple of what an even
    spread gives. Rows of the array go along the position read. Cells of positions that are not there are 0."""
    read, kept = bins
    cells = (positions * read // total) * kept + stored * kept // total
    counts = np.bincount(cells, minlength=read * kept).reshape(read, kept).astype(np.float64)
    found: Array = counts / np.maximum(counts.mean(axis=1, keepdims=True), 1e-9)
    return found


def _correlation(positions: Array, stored: Array) -> float:
    """Both are ranks (or a fair sample of ranks), so Pearson's correlation of them is Spearman's."""
    x, y = positions - positions.mean(), stored - stored.mean()
    scale = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return min(1.0, abs(float((x * y).sum())) / scale) if scale else 0.0


def _none_of(total: int, group: int, batch: int) -> float:
    """The chance that none of `group` rows among `total` is in a batch drawn at random."""
    if batch > total - group:
        return 0.0
    lgamma = math.lgamma
    return math.exp(
        lgamma(total - group + 1) - lgamma(total - group - batch + 1) - lgamma(total + 1) + lgamma(total - batch + 1)
    )
