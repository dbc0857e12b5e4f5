"""Columns as the arrays of a batch in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of

#: Text is an array of NumPy's own strings as long as that takes at most so many times the bytes it has, or so many.
_TEXT_TIMES = 16
_TEXT_BYTES = 1 << 20


def batch_array(field: UnischemaField, column: Column) -> Array:
    """The array `[rows, ...]` of a column.

    Numbers, bools and datetimes are `[rows, *shape]` in their own dtype; dates datetime64[D]. str is an array of
    NumPy's strings (`U`), of objects where these would waste memory or lose a NUL at the end; bytes and Decimals are
    objects. A field of variable shape is `[rows, ...]` where all its cells happen to have one shape, else objects: an
    array for each row. Nulls are NaN in floats, NaT in datetimes and dates, None in objects, and else masked: a
    `numpy.ma.MaskedArray` of the same dtype, which hides no integer behind a float.
    """
    # By the column, not the field: a function may have made something else of it (see `TransformSpec`).
    if column.splits:
        return _ragged(field, column)
    if isinstance(column.values, Text):
        return _text(field, column)
    return _numbers(field, column)


def _numbers(field: UnischemaField, column: Column) -> Array:
    values: Any = column.values
    if column.valid is None or bool(column.valid.all()):
        return np.asarray(values)
    missing = ~column.valid
    if values.dtype.kind in "fM":
        values = values.copy()
        values[missing] = np.array("NaT", values.dtype) if values.dtype.kind == "M" else np.nan
        return np.asarray(values)
    mask = np.broadcast_to(missing.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    return np.ma.MaskedArray(values, mask)


def _text(field: UnischemaField, column: Column) -> Array:
    cells = cells_of(field, column)
    text = column.values
    assert isinstance(text, Text)
    if field.shape:
        whole = column.valid is None or bool(column.valid.all())
        return np.stack(cells) if whole and cells else _objects(cells)
    plain = field.kind == "text" and column.valid is None and _fits(text) and not _loses_nul(text)
    return np.array(cells, "U") if plain and cells else _objects(cells)


def _fits(text: Text) -> bool:
    lengths = np.diff(text.offsets)
    longest = int(lengths.max()) if len(lengths) else 0
    held = int(lengths.sum()) if text.codes is None else int(lengths[text.codes].sum())
    return 4 * longest * len(text) <= _TEXT_TIMES * held + _TEXT_BYTES


def _loses_nul(text: Text) -> bool:
    ends = text.offsets[1:][text.offsets[1:] > text.offsets[:-1]]
    return bool((text.data[ends - 1] == 0).any())


def _ragged(field: UnischemaField, column: Column) -> Array:
    whole = column.valid is None or bool(column.valid.all())
    if whole and len(column.splits) == 1 and not isinstance(column.values, Text):
        lengths = np.diff(column.splits[0])
        if len(lengths) and bool((lengths == lengths[0]).all()):
            return np.asarray(column.values).reshape(len(lengths), int(lengths[0]), *field.inner_shape)
    cells = cells_of(field, column)
    alike = (
        whole and bool(cells) and all(isinstance(cell, np.ndarray) and cell.shape == cells[0].shape for cell in cells)
    )
    return np.stack(cells) if alike else _objects(cells)


def _objects(cells: list[Any]) -> Array:
    return np.fromiter(cells, object, len(cells))
