"""Selecting rows of columns, vectorised."""

from __future__ import annotations

import numpy as np

from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned
from tfpetastorm.schema.field import UnischemaField


def _ranges(starts: Array, lengths: Array) -> Array:
    """int64: `starts[i], starts[i] + 1, …` for `lengths[i]` items, one range after another."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    items: Array = np.arange(total, dtype=np.int64) - np.repeat(ends - lengths - starts, lengths)
    return items


def _splits_of(lengths: Array) -> Array:
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    return splits


def take_text(text: Text, items: Array) -> Text:
    """The items at `items` (int64), in that order; a dictionary stays as it is."""
    if text.codes is not None:
        return Text(text.offsets, text.data, np.ascontiguousarray(text.codes[items]))
    starts = text.offsets[:-1][items]
    lengths = text.offsets[1:][items] - starts
    return Text(_splits_of(lengths), text.data[_ranges(starts, lengths)])


def take(column: Column, rows: Array) -> Column:
    """The rows at `rows` (int64 indices), in that order; an index may come more than once."""
    items = np.asarray(rows, np.int64)
    splits = []
    for split in column.splits:
        starts = split[:-1][items]
        lengths = split[1:][items] - starts
        splits.append(_splits_of(lengths))
        items = _ranges(starts, lengths)
    values: Array | Text
    if isinstance(column.values, Text):
        width = int(np.prod(column.inner, dtype=np.int64)) if column.inner else 1
        if width != 1:
            items = _ranges(items * width, np.full(len(items), width, np.int64))
        values = take_text(column.values, items)
    else:
        values = np.ascontiguousarray(column.values[items])
    valid = None if column.valid is None else column.valid[rows]
    return Column(values, tuple(splits), valid, column.inner)


def empty_column(field: UnischemaField) -> Column:
    """A column of `field` without rows."""
    splits = tuple(np.zeros(1, np.int64) for _ in range(field.ragged_rank))
    if field.is_text:
        return Column(Text(np.zeros(1, np.int64), np.zeros(0, np.uint8)), splits, inner=field.inner_shape)
    return Column(empty_aligned((0, *field.inner_shape), field.dtype), splits, inner=field.inner_shape)
