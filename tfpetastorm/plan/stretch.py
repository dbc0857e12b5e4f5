"""Intervals of the order of an epoch: what is left of it, or what one shard takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfpetastorm.schema.columns import Array


@dataclass(frozen=True, eq=False)
class Stretch:
    """Positions of an epoch's order, as disjoint half-open intervals in the order they are taken.

    lo, hi: int64 `[k]`. A *number* counts positions within the stretch, from 0.
    """

    lo: Array
    hi: Array

    @classmethod
    def of(cls, intervals: Iterable[tuple[int, int]]) -> Stretch:
        """The intervals that are not empty."""
        kept = [(lo, hi) for lo, hi in intervals if hi > lo]
        array = np.array(kept, np.int64).reshape(-1, 2)
        return cls(np.ascontiguousarray(array[:, 0]), np.ascontiguousarray(array[:, 1]))

    @property
    def total(self) -> int:
        """How many positions there are."""
        return int((self.hi - self.lo).sum())

    @property
    def ends(self) -> Array:
        """int64 `[k]`: how many positions there are up to the end of each interval."""
        return np.cumsum(self.hi - self.lo)

    def part(self, start: int, stop: int) -> Stretch:
        """The positions with numbers from `start` to `stop` (exclusive)."""
        ends = self.ends
        begins = ends - (self.hi - self.lo)
        first, last = np.searchsorted(ends, start, "right"), np.searchsorted(begins, stop, "left")
        begins, lo, hi = begins[first:last], self.lo[first:last], self.hi[first:last]
        cut_lo = lo + np.maximum(0, start - begins)
        cut_hi = np.minimum(hi, lo + (stop - begins))
        keep = cut_hi > cut_lo
        return Stretch(cut_lo[keep], cut_hi[keep])

    def without(self, taken: Iterable[tuple[int, int]]) -> Stretch:
        """The positions whose numbers lie in none of the ascending, disjoint intervals `taken`."""
        parts, start = [], 0
        for lo, hi in taken:
            parts.append(self.part(start, lo))
            start = hi
        parts.append(self.part(start, self.total))
        return Stretch(np.concatenate([part.lo for part in parts]), np.concatenate([part.hi for part in parts]))

    def then(self, other: Stretch) -> Stretch:
        """These positions, then those of `other`; two intervals that touch become one."""
        lo, hi = np.concatenate([self.lo, other.lo]), np.concatenate([self.hi, other.hi])
        apart = hi[:-1] != lo[1:]
        return Stretch(lo[np.concatenate([[True], apart])[: len(lo)]], hi[np.concatenate([apart, [True]])[: len(hi)]])

    def positions(self, numbers: Array) -> Array:
        """int64: the positions with these numbers."""
        ends = self.ends
        which = np.searchsorted(ends, numbers, "right")
        begins = ends - (self.hi - self.lo)
        found: Array = self.lo[which] + (numbers - begins[which])
        return found
