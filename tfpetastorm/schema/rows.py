"""Columns as single cells again, for rows as namedtuples and dicts: one Python object a cell, made column by column."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField


def cells_of(field: UnischemaField, column: Column) -> list[Any]:
    """The cells of a decoded column, `[rows]`, None where null.

    Scalars come as NumPy scalars, `np.str_`, `np.bytes_`, `Decimal` or `np.datetime64` (of unit D for dates); other
    shapes as arrays: of numbers they are views of the column, of text and bytes U and S arrays, of Decimals arrays of
    objects. What U and S arrays can't hold, a NUL at the end, comes as `str` or `bytes` and in arrays of objects. A
    cell of lists that differ in length is a list of arrays (or of such lists).

    Raises UnicodeDecodeError where text is not UTF-8.
    """
    items, array_of = _items(field, column.values)
    if column.splits:
        cells = _ragged(field, column, items, array_of)
    elif not field.shape:
        # Through `flat`, NumPy makes scalars in less than half the time.
        cells = list(items.flat) if isinstance(items, np.ndarray) else list(items)
    elif isinstance(items, list):
        width = int(np.prod(column.inner, dtype=np.int64))
        cells = [array_of(items[at : at + width], column.inner) for at in range(0, len(items), width)]
    else:
        cells = list(items)
    if column.valid is not None:
        for row in np.flatnonzero(~column.valid).tolist():
            cells[row] = None
    return cells


def text_objects(text: Text, decode: bool) -> Array:
    """Object array `[rows]`: `str` if `decode`, else `bytes`. Arrow makes the objects, not a loop here."""
    kind = pa.large_string() if decode else pa.large_binary()
    offsets = np.ascontiguousarray(text.offsets, np.int64)
    data = np.ascontiguousarray(text.data)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    items: Array = pa.Array.from_buffers(kind, len(offsets) - 1, buffers).to_numpy(zero_copy_only=False)
    return items if text.codes is None else items[text.codes]


#: Makes the array of a shape from its items.
_ArrayOf = Callable[[Any, tuple[int, ...]], Any]


def _items(field: UnischemaField, values: Array | Text) -> tuple[Array | list[Any], _ArrayOf]:
    """All items of a column, and what makes an array of some of them. Of a dictionary, an object is made per entry."""
    if not isinstance(values, Text):
        return values, lambda items, shape: items.reshape(shape)
    kind: Any = field.numpy_dtype if field.kind != "decimal" else object
    entries = text_objects(Text(values.offsets, values.data), decode=field.kind != "bytes").tolist()
    if field.kind == "decimal":
        # Null rows have an empty item.
        entries = [Decimal(entry) if entry else None for entry in entries]
    elif _ends_in_nul(values):
        kind = object
    elif not field.shape:
        entries = list(map(kind, entries))
    items = entries if values.codes is None else list(map(entries.__getitem__, values.codes.tolist()))

    def array_of(some: list[Any], shape: tuple[int, ...]) -> Array:
        made = np.empty(len(some), object)
        made[:] = some
        return made.reshape(shape) if kind is object else np.array(some, kind).reshape(shape)

    return items, array_of


def _ends_in_nul(text: Text) -> bool:
    ends = text.offsets[1:][text.offsets[1:] > text.offsets[:-1]]
    return bool((text.data[ends - 1] == 0).any())


def _ragged(field: UnischemaField, column: Column, items: Array | list[Any], array_of: _ArrayOf) -> list[Any]:
    splits, inner = column.splits, column.inner
    if len(splits) == 1 and not isinstance(items, list):
        bounds = splits[0].tolist()
        return [items[start:stop] for start, stop in pairwise(bounds)]
    width = int(np.prod(inner, dtype=np.int64)) if isinstance(items, list) else 1
    sizes = _rectangles(field, splits)
    ends = splits[0]
    for split in splits[1:]:
        ends = split[ends]
    bounds = (ends * width).tolist()
    known = zip(bounds[:-1], bounds[1:], sizes.tolist(), strict=True)
    return [
        array_of(items[start:stop], (*size, *inner)) if size[0] >= 0 else _part(field, column, items, array_of, 0, row)
        for row, (start, stop, size) in enumerate(known)
    ]


def _rectangles(field: UnischemaField, splits: tuple[Array, ...]) -> Array:
    """int64 `[rows, len(splits)]`: the sizes of each cell's ragged dimensions, -1 where its lists differ in length."""
    rows = len(splits[0]) - 1
    sizes = np.zeros((rows, len(splits)), np.int64)
    sizes[:, 0] = np.diff(splits[0])
    even, bounds = np.ones(rows, bool), splits[0]
    for depth, split in enumerate(splits[1:], 1):
        lengths = np.diff(split)
        counts = np.diff(bounds)
        some = counts > 0
        sizes[~some, depth] = field.shape[depth] or 0
        sizes[some, depth] = lengths[bounds[:-1][some]]
        differ = lengths != np.repeat(sizes[:, depth], counts)
        even[np.repeat(np.arange(rows), counts)[differ]] = False
        bounds = split[bounds]
    sizes[~even] = -1
    return sizes


def _part(field: UnischemaField, column: Column, items: Any, array_of: _ArrayOf, axis: int, part: int) -> Any:
    """Part of a cell whose lists differ in length: an array where those within it don't, else a list."""
    start, stop = int(column.splits[axis][part]), int(column.splits[axis][part + 1])
    if axis + 1 == len(column.splits):
        width = int(np.prod(column.inner, dtype=np.int64)) if isinstance(items, list) else 1
        return array_of(items[start * width : stop * width], (stop - start, *column.inner))
    if start == stop:
        return array_of(items[:0], (0, *(size or 0 for size in field.shape[axis + 1 :])))
    parts = [_part(field, column, items, array_of, axis + 1, below) for below in range(start, stop)]
    if all(isinstance(below, np.ndarray) and below.shape == np.shape(parts[0]) for below in parts):
        return np.stack(parts)
    return parts
