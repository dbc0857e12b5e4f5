"""Columns as rows: namedtuples made column by column, a part of an element at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from tfpetastorm.feed.elements import ElementRows
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import arrays_of
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema

#: Rows made at once: so many bytes, so that a row which someone keeps does not keep a whole element alive; and no more
#: rows than this, so that the first one comes soon.
_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 4096


class RowMaker:
    """Makes the rows of an element, part by part: `schema.namedtuple_type()` of its fields."""

    def __init__(self, schema: Unischema, rows: ElementRows) -> None:
        self._fields = list(schema)
        self._type = schema.namedtuple_type()
        self._columns, self._index = rows.columns, rows.index
        self._total = rows.samples
        self._size = _chunk_rows(rows.columns, self._total)
        self._done = 0
        # A dictionary's entries become objects once, not once a part.
        self._whole = {
            field.name: cells_of(field, self._columns[field.name])
            for field in self._fields
            if isinstance(self._columns[field.name].values, Text) and not field.shape
        }

    def some(self) -> list[Any]:
        """The next rows; none where all were given. Should it fail, it gives the same rows when called again."""
        stop = min(self._done + self._size, self._total)
        if stop == self._done:
            return []
        part = slice(self._done, stop)
        index = np.arange(self._done, stop) if self._index is None else self._index[part]
        cells = [self._cells(field, part, index) for field in self._fields]
        # What the class's own _make does, but without a call of Python for each row.
        rows = list(map(tuple.__new__, repeat(self._type), zip(*cells, strict=True)))
        self._done = stop
        return rows

    def _cells(self, field: UnischemaField, part: slice, index: Array) -> list[Any]:
        whole = self._whole.get(field.name)
        if whole is not None:
            return whole[part] if self._index is None else list(map(whole.__getitem__, index.tolist()))
        column = self._columns[field.name]
        if self._index is None and not field.shape and isinstance(column.values, np.ndarray):
            valid = None if column.valid is None else column.valid[part]
            return cells_of(field, Column(column.values[part], (), valid))
        return cells_of(field, take(column, index))


@dataclass(frozen=True)
class WindowTypes:
    """The namedtuples of an n-gram, by offset: which fields, and their class. As petastorm's, an n-gram has every
    offset from the first to the last, and nothing at those that were not asked for."""

    fields: Mapping[int, Sequence[UnischemaField]]
    make: Mapping[int, Callable[[Any], Any]]

    @classmethod
    def of(cls, schema: Unischema, windows: ResolvedWindows) -> WindowTypes:
        """The types of n-grams of these fields."""
        fields, make = {}, {}
        assert windows.fields is not None
        for offset in range(windows.first, windows.first + windows.length):
            names = windows.fields.get(offset, ())
            chosen = [field for field in schema if field.name in names]
            fields[offset] = chosen
            make[offset] = Unischema.rebuilt(schema.schema_name, chosen).namedtuple_type()._make
        return cls(fields, make)


class WindowMaker:
    """Makes the n-grams of an element: `{offset: namedtuple}`. N-grams that overlap share the cells of their rows."""

    def __init__(self, types: WindowTypes, windows: ResolvedWindows, rows: ElementRows) -> None:
        self._types = types
        self._first = windows.first
        assert rows.index is not None
        self._index = rows.index
        self._done = 0
        self._size = max(1, _chunk_rows(rows.columns, rows.rows))
        known = {field.name: field for fields in types.fields.values() for field in fields}
        self._cells = {name: _owned(field, rows.columns[name]) for name, field in known.items()}

    def some(self) -> list[Any]:
        """The next n-grams; none where all were given."""
        starts = self._index[self._done : self._done + self._size]
        if not len(starts):
            return []
        by_offset = []
        for offset, fields in self._types.fields.items():
            at = (starts + (offset - self._first)).tolist()
            cells = [list(map(self._cells[field.name].__getitem__, at)) for field in fields]
            rows = zip(*cells, strict=True) if cells else repeat((), len(at))
            made = map(self._types.make[offset], rows)
            by_offset.append(made)
        offsets = tuple(self._types.fields)
        grams = [dict(zip(offsets, gram, strict=True)) for gram in zip(*by_offset, strict=True)]
        self._done += len(starts)
        return grams


def _owned(field: UnischemaField, column: Column) -> list[Any]:
    """Cells that keep nothing else alive, and that nobody else writes to."""
    cells = cells_of(field, column)
    if not field.shape:
        return cells
    return [cell.copy() if isinstance(cell, np.ndarray) else cell for cell in cells]


def _chunk_rows(columns: Mapping[str, Column], rows: int) -> int:
    size = sum(array.nbytes for column in columns.values() for array in arrays_of(column))
    return int(min(max(1, rows * _CHUNK_BYTES // max(size, 1)), _CHUNK_ROWS))
