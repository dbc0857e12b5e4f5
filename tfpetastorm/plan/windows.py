"""Which windows of consecutive rows there are, as arithmetic segments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfpetastorm.schema.columns import Array


@dataclass(frozen=True, eq=False)
class WindowIndex:
    """Every window of a dataset, by the stored number of its first row. Windows are numbered from 0 in that order.

    Rows are numbered from 0 over all read tasks in stored order, those that `where=` leaves out included.

    first: int64 `[k]`, where each segment's first window starts, ascending. count: int64 `[k]`, windows of each, at
    least 1. stride: rows from one window to the next within a segment; no segment reaches the next one's first
    window. length: rows of a window. reason: where there are none, why, in words.
    """

    first: Array
    count: Array
    stride: int
    length: int
    reason: str = ""

    @cached_property
    def _ends(self) -> Array:
        """int64 `[k + 1]`: how many windows precede each segment, and all."""
        ends = np.zeros(len(self.count) + 1, np.int64)
        np.cumsum(self.count, out=ends[1:])
        return ends

    @property
    def total(self) -> int:
        """How many windows there are."""
        return int(self._ends[-1])

    def starts(self, numbers: Array) -> Array:
        """int64: the stored number of the first row of each window, by window numbers (int64, within [0, total))."""
        segment = np.searchsorted(self._ends, numbers, "right") - 1
        rows: Array = self.first[segment] + (numbers - self._ends[segment]) * self.stride
        return rows

    def before(self, rows: Array) -> Array:
        """int64: how many windows start before each of these stored row numbers (int64)."""
        rows = np.asarray(rows, np.int64)
        if not len(self.first):
            return np.zeros(rows.shape, np.int64)
        segment = np.searchsorted(self.first, rows, "left") - 1
        inside = np.maximum(segment, 0)
        passed = (rows - self.first[inside] + self.stride - 1) // self.stride
        counted = self._ends[inside] + np.clip(passed, 0, self.count[inside])
        return np.where(segment < 0, 0, counted).astype(np.int64)

    def to_array(self) -> Array:
        """int64 `[2 + 2k]`: this index for a cache (without `reason`)."""
        return np.concatenate([np.array([self.stride, self.length], np.int64), self.first, self.count])

    @classmethod
    def from_array(cls, array: Array) -> WindowIndex | None:
        """The index that `to_array` made this of; None if it can't be one."""
        array = np.asarray(array, np.int64)
        segments, rest = divmod(len(array) - 2, 2)
        if rest or segments < 0 or array[:2].min() < 1:
            return None
        first, count = array[2 : 2 + segments].copy(), array[2 + segments :].copy()
        stride = int(array[0])
        sound = not segments or (
            first[0] >= 0 and count.min() >= 1 and bool(np.all(first[:-1] + (count[:-1] - 1) * stride < first[1:]))
        )
        return cls(first, count, stride, int(array[1])) if sound else None


def windows_of_stretches(first: Array, rows: Array, length: int, stride: int, reason: str = "") -> WindowIndex:
    """All windows within stretches of consecutive rows, every `stride`-th of each stretch from its first on.

    first, rows: int64 `[n]`: each stretch's first row and how many it has, in order and without overlap.
    """
    count = np.maximum(0, (rows - length) // stride + 1)
    some = count > 0
    return merged(first[some], count[some], stride, length, reason)


def merged(first: Array, count: Array, stride: int, length: int, reason: str = "") -> WindowIndex:
    """An index of these segments, those that continue the one before made one with it."""
    if len(first):
        begins = np.ones(len(first), bool)
        begins[1:] = first[1:] != first[:-1] + count[:-1] * stride
        at = np.flatnonzero(begins)
        first, count = first[at], np.add.reduceat(count, at)
    return WindowIndex(first.astype(np.int64), count.astype(np.int64), stride, length, "" if len(first) else reason)
