"""Columns as single cells again, for people and row functions: slow, one Python object a cell."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField


def column_cells(field: UnischemaField, column: Column) -> list[Any]:
    """The cells of a decoded column, None where null.

    Scalars come as NumPy scalars, str, bytes, Decimal, np.datetime64 or datetime.date; other shapes as arrays, of
    objects for text, bytes and decimals. A cell of lists that differ in length is a list of arrays (or of such lists).
    """
    return [
        None if column.valid is not None and not column.valid[row] else _cell(field, column, row)
        for row in range(column.rows)
    ]


def _cell(field: UnischemaField, column: Column, row: int) -> Any:
    width = int(np.prod(field.inner_shape, dtype=np.int64))
    if not column.splits:
        if not field.shape:
            return _items(field, column.values, row, row + 1)[0]
        if isinstance(column.values, Text):
            return _items(field, column.values, row * width, (row + 1) * width).reshape(field.inner_shape)
        return _items(field, column.values, row, row + 1)[0]
    return _part(field, column, 0, row, width)


def _part(field: UnischemaField, column: Column, axis: int, part: int, width: int) -> Any:
    start, stop = int(column.splits[axis][part]), int(column.splits[axis][part + 1])
    if axis + 1 == len(column.splits):
        if isinstance(column.values, Text):
            return _items(field, column.values, start * width, stop * width).reshape(stop - start, *field.inner_shape)
        return _items(field, column.values, start, stop)
    parts = [_part(field, column, axis + 1, below, width) for below in range(start, stop)]
    if not parts:
        sizes = tuple(0 if size is None else size for size in field.shape[axis + 1 :])
        return np.empty((0, *sizes), object if field.is_text else field.dtype)
    if all(isinstance(below, np.ndarray) and below.shape == parts[0].shape for below in parts):
        return np.stack(parts)
    return parts


def _items(field: UnischemaField, values: Array | Text, start: int, stop: int) -> Any:
    if not isinstance(values, Text):
        items = values[start:stop]
        return items.tolist() if field.kind == "date" and not field.shape else items
    found = np.empty(stop - start, object)
    for position in range(start, stop):
        index = position if values.codes is None else int(values.codes[position])
        raw = values.data[values.offsets[index] : values.offsets[index + 1]].tobytes()
        found[position - start] = (
            raw if field.kind == "bytes" else Decimal(raw.decode()) if field.kind == "decimal" else raw.decode()
        )
    return found
