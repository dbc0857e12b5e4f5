"""Selecting and joining rows of columns, vectorised."""

from __future__ import annotations

from collections.abc import Sequence

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


def rows_between(column: Column, start: int, stop: int) -> Column:
    """The rows of a column from `start` to `stop`, in the same memory."""
    valid = None if column.valid is None else column.valid[start:stop]
    splits = []
    for split in column.splits:
        start, stop, part = int(split[start]), int(split[stop]), split[start : stop + 1]
        splits.append(part - part[0])
    if not isinstance(column.values, Text):
        return Column(column.values[start:stop], tuple(splits), valid, column.inner)
    text, width = column.values, int(np.prod(column.inner, dtype=np.int64))
    if text.codes is not None:
        text = Text(text.offsets, text.data, text.codes[start * width : stop * width])
    else:
        text = Text(text.offsets[start * width : stop * width + 1], text.data)
    return Column(text, tuple(splits), valid, column.inner)


def concat(parts: Sequence[Column]) -> Column:
    """The rows of columns of one field, one after another."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    texts = [part.values for part in parts if isinstance(part.values, Text)]
    arrays = [part.values for part in parts if not isinstance(part.values, Text)]
    values: Array | Text = _concat_texts(texts) if texts else _concat_arrays(arrays)
    splits = tuple(_concat_splits([part.splits[depth] for part in parts]) for depth in range(len(first.splits)))
    valid = None
    if any(part.valid is not None for part in parts):
        valid = np.concatenate([np.ones(part.rows, bool) if part.valid is None else part.valid for part in parts])
    return Column(values, splits, valid, first.inner)


def _concat_arrays(arrays: Sequence[Array]) -> Array:
    joined = empty_aligned((sum(len(array) for array in arrays), *arrays[0].shape[1:]), arrays[0].dtype)
    np.concatenate(arrays, out=joined)
    return joined


def _concat_splits(parts: Sequence[Array]) -> Array:
    """Row splits, which start at 0 and end at the number of items, one after another."""
    shifts = np.cumsum([0, *(int(part[-1]) for part in parts[:-1])])
    return np.concatenate([parts[0][:1], *(part[1:] + shift for part, shift in zip(parts, shifts, strict=True))])


def _concat_texts(texts: Sequence[Text]) -> Text:
    data = np.concatenate([text.data[text.offsets[0] : text.offsets[-1]] for text in texts])
    offsets = _concat_splits([text.offsets - text.offsets[0] for text in texts])
    if all(text.codes is None for text in texts):
        return Text(offsets, data)
    sizes = [len(text.offsets) - 1 for text in texts]
    shifts = np.cumsum([0, *sizes[:-1]])
    codes = [
        (np.arange(size) if text.codes is None else text.codes) + shift
        for text, size, shift in zip(texts, sizes, shifts, strict=True)
    ]
    return Text(offsets, data, np.concatenate(codes).astype(np.int32))


def empty_column(field: UnischemaField) -> Column:
    """A column of `field` without rows."""
    splits = tuple(np.zeros(1, np.int64) for _ in range(field.ragged_rank))
    if field.is_text:
        return Column(Text(np.zeros(1, np.int64), np.zeros(0, np.uint8)), splits, inner=field.inner_shape)
    return Column(empty_aligned((0, *field.inner_shape), field.dtype), splits, inner=field.inner_shape)
