"""Rows that wait to be put into batches, mixed or as they came."""

from __future__ import annotations

from collections import deque

import numpy as np

from tfpetastorm.schema.columns import Array
from tfpetastorm.torch.chunks import Chunk, joined


class Queue:
    """Gives rows in the order in which they came."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self.rows = 0

    def add(self, chunk: Chunk) -> None:
        """Takes the rows of some columns in."""
        self._chunks.append(chunk)
        self.rows += _rows(chunk)

    def take(self, rows: int) -> Chunk:
        """The next `rows` rows, of which there must be so many."""
        parts = []
        self.rows -= rows
        while rows:
            chunk = self._chunks.popleft()
            size = _rows(chunk)
            if size > rows:
                self._chunks.appendleft({name: column[rows:] for name, column in chunk.items()})
                chunk = {name: column[:rows] for name, column in chunk.items()}
            parts.append(chunk)
            rows -= min(size, rows)
        return {name: joined([part[name] for part in parts]) for name in parts[0]}


class Mixer:
    """Gives, of all rows that it holds, any with the same chance. A row costs one copy in and one out, however many
    rows are held: the places of rows given are taken by the last ones."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._held: Chunk = {}
        self.rows = 0

    def add(self, chunk: Chunk) -> None:
        """Takes the rows of some columns in."""
        size = _rows(chunk)
        for name, column in chunk.items():
            self._held[name] = _appended(self._held.get(name), self.rows, column)
        self.rows += size

    def take(self, rows: int) -> Chunk:
        """`rows` rows at random, of which there must be so many."""
        chosen = self._generator.choice(self.rows, rows, replace=False)
        left = self.rows - rows
        holes = chosen[chosen < left]
        last = np.ones(rows, bool)
        last[chosen[chosen >= left] - left] = False
        fillers = left + np.flatnonzero(last)
        given = {}
        for name, column in self._held.items():
            given[name] = column[chosen]
            column[holes] = column[fillers]
            if column.dtype == object:
                column[left : self.rows] = None
        self.rows = left
        return given


def _appended(held: Array | None, rows: int, column: Array) -> Array:
    """`held` with `column` after its first `rows` rows: itself where there is room, else one twice as long."""
    if not rows:
        held = None
    if held is not None and (held.dtype != column.dtype or held.shape[1:] != column.shape[1:]):
        # Cells that differ in kind or shape from one chunk to the next.
        return joined([held[:rows], column])
    needed = rows + len(column)
    if held is None or needed > len(held):
        grown = np.empty((max(needed, 2 * rows), *column.shape[1:]), column.dtype)
        if held is not None:
            grown[:rows] = held[:rows]
        held = grown
    held[rows:needed] = column
    return held


def _rows(chunk: Chunk) -> int:
    return len(next(iter(chunk.values())))
