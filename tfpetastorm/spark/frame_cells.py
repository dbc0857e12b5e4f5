"""Columns of a DataFrame, as Arrow hands them over, to the cells that codecs take: checked, a column at a time.

A DataFrame has fewer types than a schema: its shorts become uint8, its lists arrays. Whatever has another value in the
field's type is an error; reading, which wraps and truncates as petastorm did, would not do here.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import EncodeError, Place, describe
from tfpetastorm.schema.codecs import Cells, ScalarCodec, decode_column, encode_column
from tfpetastorm.schema.codecs.base import mismatch_error
from tfpetastorm.schema.codecs.buffers import binary_parts, is_textual, storage_of, validity
from tfpetastorm.schema.codecs.fit import describe_field
from tfpetastorm.schema.codecs.lists import is_list
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of


def encode_given(field: UnischemaField, array: pa.Array) -> pa.Array:
    """A DataFrame's column as `field` stores it. Raises EncodeError naming field and row, counted within the array."""
    array = _whole(field, storage_of(array))
    if not field.shape:
        return _encode_scalars(field, array)
    if _is_binary(array.type):
        return encode_column(field, _folded(field, _from_bytes(field, array)))
    if is_list(array.type) and not is_list(array.type.value_type) and len(field.shape) > 1:
        return encode_column(field, _folded(field, _items(field, array, (None,))))
    return encode_column(field, _cells(field, _items(field, array, field.shape)))


def encode_stored(field: UnischemaField, array: pa.Array) -> pa.Array:
    """A column whose cells are stored ones already, each decoded once to see that it is the field's."""
    if not _is_binary(array.type):
        raise _unfit(field, array.type, "a column of encoded cells, which are binary")
    decode_column(field, array, lambda row, reason: _refuse(field, row, reason))
    return encode_column(field, array.cast(pa.binary()))


def _whole(field: UnischemaField, array: pa.Array) -> pa.Array:
    """The array, whole decimals as uint64 where that is the field's: Spark has no other type that holds them all."""
    depth, kind = 0, array.type
    while is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if field.dtype != np.uint64 or not pa.types.is_decimal(kind):
        return array
    wanted = pa.uint64()
    for _ in range(depth):
        wanted = pa.list_(wanted)
    try:
        return array.cast(wanted)
    except pa.ArrowException as error:
        raise _unfit(field, f"{array.type} ({error})") from None


def _encode_scalars(field: UnischemaField, array: pa.Array) -> pa.Array:
    given = _given_field(field, array.type, ())
    native = field.codec is None or isinstance(field.codec, ScalarCodec)
    if field.kind == "decimal" and is_textual(array.type):
        column = decode_column(given, array, lambda row, reason: _refuse(field, row, reason))
        return encode_column(field, cells_of(given, column))
    if field.kind == "text" and _is_binary(array.type):
        decode_column(given, array, lambda row, reason: _refuse(field, row, reason))
        array = array.cast(pa.string())
    if field.is_text:
        if not native:
            return encode_column(field, array.cast(pa.string() if field.kind == "text" else pa.binary()).to_pylist())
        try:
            return encode_column(field, array)
        except EncodeError:
            # Again, cell by cell, for the error to name the row.
            return encode_column(field, array.to_pylist())
    column = _converted(field, decode_column(given, array, lambda row, reason: _refuse(field, row, reason)))
    return encode_column(field, _cells(field, column))


def _items(field: UnischemaField, array: pa.Array, shape: tuple[int | None, ...]) -> Column:
    """Nested lists as the column of a field of this shape, in the field's own dtype."""
    kind, level = array.type, array
    while is_list(kind):
        kind, level = kind.value_type, storage_of(level.flatten())
    given = _given_field(field, array.type, shape, kind)
    if level.null_count:
        row = next(row for row, cell in enumerate(array.to_pylist()) if cell is not None and _has_null(cell))
        _refuse(field, row, "a null inside the cell")
    return _converted(field, decode_column(given, array, lambda row, reason: _refuse(field, row, reason)))


def _has_null(cell: list[Any]) -> bool:
    return any(item is None or (isinstance(item, list) and _has_null(item)) for item in cell)


def _from_bytes(field: UnischemaField, array: pa.Array) -> Column:
    """Buffers of items, in C order and this machine's byte order, as a column of flat cells."""
    if field.kind not in ("number", "datetime", "date"):
        raise _unfit(field, array.type)
    valid = validity(array)
    if valid is not None:
        array = pc.fill_null(array, b"")
    offsets, data = binary_parts(array)
    size = field.dtype.itemsize
    odd = np.flatnonzero(np.diff(offsets) % size)
    if len(odd):
        _refuse(field, int(odd[0]), f"{int(np.diff(offsets)[odd[0]])} bytes, which are no whole number of items")
    items = np.ascontiguousarray(data[int(offsets[0]) : int(offsets[-1])])
    if field.dtype == np.bool_:
        items = items != 0
    return Column(items.view(field.dtype), ((offsets - offsets[0]) // size,), valid)


def _folded(field: UnischemaField, column: Column) -> Cells:
    """Flat cells in the field's shape, of which one dimension may be open."""
    if field.shape.count(None) > 1:
        raise _unfit(field, "a column of flat cells", "nested lists, as more than one dimension is open")
    rest = math.prod(size for size in field.shape if size is not None)
    lengths = np.diff(column.splits[0])
    wrong = lengths % rest != 0 if None in field.shape else lengths != rest
    if column.valid is not None:
        wrong &= column.valid
    if wrong.any():
        row = int(np.argmax(wrong))
        _refuse(field, row, f"{lengths[row]} items")
    if not isinstance(column.values, np.ndarray):
        # Of text and Decimals the cells are made first.
        flat = cells_of(replace(field, shape=(None,), codec=None, nullable=True), column)
        return [cell if cell is None else cell.reshape(_open(field)) for cell in flat]
    if column.valid is None and None not in field.shape:
        return column.values.reshape(len(lengths), *field.inner_shape)
    bounds = column.splits[0].tolist()
    cells: list[Any] = [None] * len(lengths)
    for row in range(len(cells)) if column.valid is None else np.flatnonzero(column.valid).tolist():
        cells[row] = column.values[bounds[row] : bounds[row + 1]].reshape(_open(field))
    return cells


def _open(field: UnischemaField) -> tuple[int, ...]:
    return tuple(-1 if size is None else size for size in field.shape)


def _cells(field: UnischemaField, column: Column) -> Cells:
    plain = isinstance(column.values, np.ndarray) and column.valid is None and not column.splits
    return column.values if plain else cells_of(replace(field, codec=None, nullable=True), column)  # type: ignore[return-value]


def _converted(field: UnischemaField, column: Column) -> Column:
    """The column in the field's own dtype. Raises EncodeError naming the first row that has no such value."""
    values = column.values
    if not isinstance(values, np.ndarray) or values.dtype == field.dtype:
        return column
    with np.errstate(all="ignore"):
        made = values.astype(field.dtype)
    lost = _lost(values, made)
    if lost.any():
        item = int(np.argmax(lost.reshape(-1)))
        row = _row_of(column, item)
        raise mismatch_error(field, row, f"a value of {field.dtype}", values.reshape(-1)[item])
    return replace(column, values=made)


def _lost(values: Array, made: Array) -> Array:
    """bool, of the arrays' shape: which values are others after a cast. Floats may be rounded to narrower ones, as
    `DatasetWriter` does, but not overflow; integers not even rounded."""
    old, new = values.dtype, made.dtype
    if new.kind == "f" and old.kind == "f":
        return np.asarray(np.isinf(made) & ~np.isinf(values))
    if new.kind == "f":
        # Past the largest integer the way back has no meaning.
        past = np.isinf(made) | (made.astype(np.float64) >= float(np.iinfo(old).max) + 1.0)
        return np.asarray(past | (np.where(past, 0, made).astype(old) != values))
    if new.kind == "M":
        return np.asarray((made.astype(old) != values) & ~np.isnat(values))
    # By values, not by the way back: -1 becomes 255 and again -1.
    low, high = int(np.iinfo(new).min), int(np.iinfo(new).max)
    if old.kind == "f":
        return np.asarray(~((values >= low) & (values < float(high) + 1.0) & (np.trunc(values) == values)))
    bounds = np.iinfo(old)
    return np.asarray((values < max(low, bounds.min)) | (values > min(high, bounds.max)))


def _row_of(column: Column, item: int) -> int:
    if not column.splits:
        return item // max(1, math.prod(column.inner))
    item //= max(1, math.prod(column.inner))
    for split in reversed(column.splits):
        item = int(np.searchsorted(split, item, side="right")) - 1
    return item


def _given_field(
    field: UnischemaField, column: pa.DataType, shape: tuple[int | None, ...], item: pa.DataType | None = None
) -> UnischemaField:
    """A field of the type that the DataFrame's items have. Raises EncodeError if those can't become the field's."""
    types, kind = pa.types, column if item is None else item
    dtype: Any = None
    if field.kind == "number":
        number = types.is_integer(kind) or types.is_floating(kind)
        if types.is_boolean(kind) if field.dtype == np.bool_ else number:
            dtype = kind.to_pandas_dtype()
    elif field.kind == "datetime" and types.is_timestamp(kind):
        dtype = f"datetime64[{kind.unit}]"
    elif field.kind in ("datetime", "date") and types.is_date32(kind):
        dtype = dt.date
    elif (field.kind in ("text", "bytes") and is_textual(kind)) or (
        field.kind == "decimal" and (types.is_decimal(kind) or types.is_integer(kind) or is_textual(kind))
    ):
        dtype = Decimal if field.kind == "decimal" else field.numpy_dtype
    if dtype is None:
        raise _unfit(field, column)
    return UnischemaField(field.name, dtype, shape, None, True)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _unfit(field: UnischemaField, found: object, expected: str | None = None) -> EncodeError:
    what = "A column of the DataFrame can't become its field"
    return EncodeError(
        describe(
            what,
            Place(field=field.name),
            expected=expected or f"values for {describe_field(field)}",
            found=found,
            remedy="Cast it; of arrays that are encoded already, give the names as encoded=.",
        )
    )


def _refuse(field: UnischemaField, row: int, reason: str) -> NoReturn:
    raise mismatch_error(field, row, describe_field(field), reason)
