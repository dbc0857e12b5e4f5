"""The NumPy face of columns: what a user's predicate or transform is given, and what it gives back.

Numbers, bools, datetime64 and dates (datetime64[D]) are arrays `[rows, *shape]`; str, bytes and Decimals are object
arrays of `str`, `bytes` and `Decimal`; a field with `None` in its shape is an object array `[rows]` of one array a row.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import TransformError, describe
from tfpetastorm.schema.codecs.base import OnBad
from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import text_objects


def without_invalid(column: Column, on_bad: OnBad) -> Column:
    """A column of text whose items are all UTF-8, as `str` has to be; `on_bad` is told of the other rows, whose cells
    are left empty. Parquet promises UTF-8, but pyarrow does not look."""
    text = column.values
    assert isinstance(text, Text)
    offsets = np.ascontiguousarray(text.offsets, np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text.data))]
    try:
        pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        pass
    else:
        return column
    objects = text_objects(Text(text.offsets, text.data), decode=False).tolist()
    damaged = np.array([item.decode(errors="ignore").encode() != item for item in objects])
    rows = np.flatnonzero(damaged if text.codes is None else damaged[text.codes])
    rows //= max(1, int(np.prod(column.inner, dtype=np.int64)))
    for split in reversed(column.splits):
        rows = np.searchsorted(split, rows, "right") - 1
    for row in np.unique(rows):
        on_bad(int(row), "text that is not UTF-8")
    kept = text_of_objects([b"" if bad else item for item, bad in zip(objects, damaged, strict=True)], decode=False)
    return Column(Text(kept.offsets, kept.data, text.codes), column.splits, column.valid, column.inner)


def text_of_objects(items: list[Any], decode: bool) -> Text:
    """The inverse of `text_objects`."""
    array = pa.array(items, pa.large_string() if decode else pa.large_binary())
    _, offsets, data = array.buffers()
    return Text(
        np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8),
        np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8),
    )


def to_face(column: Column, field: UnischemaField) -> Array:
    """The array that a user's function sees for a column."""
    values = column.values
    if isinstance(values, Text):
        flat = text_objects(values, decode=field.kind != "bytes")
        if field.kind == "decimal":
            flat = np.array([Decimal(item) if item else None for item in flat], object)
        items = flat.reshape(-1, *column.inner) if column.inner else flat
    else:
        items = values
    for depth in reversed(range(len(column.splits))):
        split = column.splits[depth]
        cells = np.empty(len(split) - 1, object)
        for i in range(len(cells)):
            part = items[split[i] : split[i + 1]]
            if depth + 1 < len(column.splits):
                # One rectangular array, as a cell of shape (None, None, 3) is; without items, of what is known of it.
                empty = np.empty((0, *(size or 0 for size in field.shape[depth + 1 :])), field.dtype)
                part = np.stack(list(part)) if len(part) else empty
            cells[i] = part
        items = cells
    return items


def from_face(value: Any, field: UnischemaField, rows: int) -> Column:
    """The column of an array that a user's function returned.

    Raises TransformError where rows, dtype or shape are not what `field` declares.
    """
    if field.ragged_rank:
        return _ragged(value, field, rows)
    if field.kind in ("text", "bytes", "decimal"):
        flat = np.asarray(value, object)
        _check_shape(flat.shape, rows, field)
        return Column(_text(flat.reshape(-1).tolist(), field), inner=field.inner_shape)
    array = np.asarray(value)
    _check_shape(array.shape, rows, field)
    if array.dtype != field.dtype:
        raise TransformError(_wrong_dtype(field, array.dtype))
    return Column(_aligned(array), inner=field.inner_shape)


def _ragged(value: Any, field: UnischemaField, rows: int) -> Column:
    if len(value) != rows:
        raise TransformError(_wrong_rows(field, rows, len(value)))
    cells = [np.asarray(cell) for cell in value]
    for i, cell in enumerate(cells):
        fits = len(cell.shape) == len(field.shape) and all(
            want is None or want == have for want, have in zip(field.shape, cell.shape, strict=False)
        )
        if not fits:
            raise TransformError(
                describe(
                    f"Row {i} of field {field.name!r} of a transform's output has a wrong shape",
                    expected=field.shape,
                    found=cell.shape,
                )
            )
    splits, lengths = [], np.array([cell.shape[0] for cell in cells], np.int64)
    for depth in range(field.ragged_rank):
        splits.append(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        if depth + 1 < field.ragged_rank:
            inner = np.array([cell.shape[depth + 1] for cell in cells], np.int64)
            outer = np.array([int(np.prod(cell.shape[: depth + 1])) for cell in cells], np.int64)
            lengths = np.repeat(inner, outer)
    if field.kind in ("text", "bytes", "decimal"):
        flat = [item for cell in cells for item in cell.reshape(-1).tolist()]
        return Column(_text(flat, field), tuple(splits), inner=field.inner_shape)
    wrong = [cell.dtype for cell in cells if cell.dtype != field.dtype and cell.size]
    if wrong:
        raise TransformError(_wrong_dtype(field, wrong[0]))
    items = empty_aligned((int(splits[-1][-1]), *field.inner_shape), field.dtype)
    if cells:
        flat_cells = [cell.reshape(-1, *field.inner_shape).astype(field.dtype, copy=False) for cell in cells]
        np.concatenate(flat_cells, out=items)
    return Column(items, tuple(splits), inner=field.inner_shape)


def _text(items: list[Any], field: UnischemaField) -> Text:
    """Text of `str`, `bytes` or `Decimal` objects. Raises TransformError for any other, None among them."""
    kind: type = {"text": str, "bytes": bytes, "decimal": Decimal}[field.kind]
    for item in items:
        if not isinstance(item, kind):
            raise TransformError(
                describe(
                    f"Field {field.name!r} of a transform's output has a wrong item",
                    expected=kind.__name__,
                    found="None" if item is None else f"{type(item).__name__} {item!r:.60}",
                )
            )
    try:
        return text_of_objects([str(item) for item in items] if field.kind == "decimal" else items, kind is not bytes)
    except (pa.ArrowException, UnicodeError) as error:
        raise TransformError(f"Field {field.name!r} of a transform's output is not {field.kind}: {error}") from error


def _aligned(array: Array) -> Array:
    """The array itself where TensorFlow can adopt it, else an aligned copy."""
    if array.flags.c_contiguous and array.ctypes.data % 64 == 0:
        return array
    copy = empty_aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


def _check_shape(shape: tuple[int, ...], rows: int, field: UnischemaField) -> None:
    if len(shape) and shape[0] != rows:
        raise TransformError(_wrong_rows(field, rows, shape[0]))
    if shape[1:] != field.shape or not shape:
        raise TransformError(
            describe(
                f"Field {field.name!r} of a transform's output has a wrong shape",
                expected=("rows", *field.shape),
                found=shape,
                remedy="Declare the new shape in the transform's edit_fields.",
            )
        )


def _wrong_rows(field: UnischemaField, expected: int, found: int) -> str:
    return describe(
        f"Field {field.name!r} of a transform's output has a wrong number of rows",
        expected=expected,
        found=found,
        remedy="A transform keeps every row; where= leaves rows out.",
    )


def _wrong_dtype(field: UnischemaField, found: Any) -> str:
    return describe(
        f"Field {field.name!r} of a transform's output has a wrong dtype",
        expected=field.dtype,
        found=found,
        remedy="Convert it with astype, or declare the new dtype in the transform's edit_fields.",
    )
