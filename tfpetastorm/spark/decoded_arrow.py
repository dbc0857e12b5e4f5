"""Decoded columns as the Arrow arrays that Spark makes columns of: nothing rounded, nothing in Python per row.

Spark has no unsigned numbers, no halves and no time finer than a microsecond. Unsigned numbers and halves take the next
wider type (uint64 a decimal of 20 digits), and an instant that is no whole microsecond is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import EncodeError, Place, SchemaError, describe
from tfpetastorm.schema.codecs import ScalarCodec, arrow_type
from tfpetastorm.schema.codecs.native import DEFAULT_DECIMAL
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.spark_types import spark_type_of_storage, spark_types

_WIDER = {
    "uint8": pa.int16(), "uint16": pa.int32(), "uint32": pa.int64(), "uint64": pa.decimal128(20, 0),
    "float16": pa.float32(),
}  # fmt: skip
#: What Spark's decimals hold.
_DIGITS = 38
_MOST_ITEMS = 2**31 - 1


def decoded_type(field: UnischemaField) -> pa.DataType:
    """The Arrow type of a decoded column, with a list for each dimension. Raises SchemaError if Spark has none."""
    kind = _item_type(field)
    for _ in field.shape:
        # NaT becomes a null; no other item is one.
        kind = pa.list_(pa.field("element", kind, nullable=field.kind in ("datetime", "date")))
    return kind


def _item_type(field: UnischemaField) -> pa.DataType:
    storage = arrow_type(field) if isinstance(field.codec, ScalarCodec) else None
    if field.kind == "number":
        return _WIDER.get(field.dtype.name) or pa.from_numpy_dtype(field.dtype)
    if field.kind == "decimal":
        if storage is None:
            return pa.decimal128(*DEFAULT_DECIMAL)
        if not pa.types.is_decimal(storage):
            return pa.string()
        if storage.precision > _DIGITS:
            raise SchemaError(
                describe(
                    "Spark has no type for a field",
                    Place(field=field.name),
                    expected=f"a decimal of at most {_DIGITS} digits",
                    found=storage,
                    remedy="Leave it out with schema_fields=.",
                )
            )
        return pa.decimal128(storage.precision, storage.scale)
    if field.kind == "datetime":
        zoned = storage is not None and pa.types.is_timestamp(storage) and storage.tz
        return pa.timestamp("us", "UTC" if zoned else None)
    return {"text": pa.string(), "bytes": pa.binary(), "date": pa.date32()}[field.kind]


def spark_type_of(kind: pa.DataType) -> Any:
    """The Spark type of a `decoded_type`: instants without a zone are TimestampNTZ."""
    types = spark_types()
    if pa.types.is_list(kind):
        return types.ArrayType(spark_type_of(kind.value_type), kind.value_field.nullable)
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return types.TimestampNTZType()
    return spark_type_of_storage(str(kind))


def to_arrow(field: UnischemaField, column: Column, place: Place | None = None) -> pa.Array:
    """A decoded column as an array of `decoded_type(field)`.

    place: where its rows begin, for messages. Raises EncodeError naming field and row for what Spark has no value of.
    """
    kind = decoded_type(field)
    item = kind
    while pa.types.is_list(item):
        item = item.value_type
    flat = column.values
    null = None if column.valid is None or field.shape else ~column.valid
    try:
        items = _texts(flat, item, null) if isinstance(flat, Text) else _numbers(flat.reshape(-1), item, null)
    except _InexactError as error:
        row = _row_of(column, error.item)
        raise _impossible(field, place, row, "whole microseconds of a datetime of 64 bits", error.found) from None
    except pa.ArrowException as error:
        raise _impossible(field, place, None, kind, str(error).partition("\n")[0].rstrip(".")) from None
    return _nested(field, column, items, kind, place) if field.shape else items


def _impossible(field: UnischemaField, place: Place | None, row: int | None, expected: object, found: object) -> Any:
    given = place or Place()
    if row is not None:
        row += given.row or 0
    where = Place(given.file, given.row_group, row, field.name)
    remedy = "Leave the field out with schema_fields=, or store it as a type that Spark has."
    return EncodeError(describe("Spark can't hold a value", where, expected=expected, found=found, remedy=remedy))


class _InexactError(Exception):
    """An instant that Spark has not: which item, and its text."""

    def __init__(self, item: int, found: str) -> None:
        super().__init__(item, found)
        self.item, self.found = item, found


def _row_of(column: Column, item: int) -> int:
    """The row that an item belongs to."""
    inner = column.inner or (() if isinstance(column.values, Text) else column.values.shape[1:])
    at = item // max(1, int(np.prod(inner, dtype=np.int64)))
    for split in reversed(column.splits):
        at = int(np.searchsorted(split, at, "right")) - 1
    return at


def _numbers(values: Array, item: pa.DataType, null: Array | None) -> pa.Array:
    if values.dtype.kind == "M" and pa.types.is_timestamp(item):
        micro = values.astype("datetime64[us]")
        # NumPy overflows and cuts off in silence: the way back shows both.
        wrong = (micro.astype(values.dtype) != values) & ~np.isnat(values)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise _InexactError(first, str(values[first]))
        values = micro
    if values.dtype.kind == "M":
        absent = np.isnat(values)
        null = absent if null is None else null | absent
        number = values.view(np.int64)
        if pa.types.is_date32(item):
            return pa.array(number.astype(np.int32), mask=null).cast(item)
        return pa.array(number, mask=null).view(item)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    elif values.dtype.kind == "u" and values.dtype.itemsize < 8:
        values = values.astype(np.dtype(item.to_pandas_dtype()))
    made = pa.array(values, mask=null)
    return made if made.type == item else made.cast(item)


def _texts(text: Text, item: pa.DataType, null: Array | None) -> pa.Array:
    raw = pa.large_binary() if pa.types.is_binary(item) else pa.large_string()
    offsets = np.ascontiguousarray(text.offsets, np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text.data))]
    items = pa.Array.from_buffers(raw, len(offsets) - 1, buffers)
    if text.codes is not None:
        items = items.take(pa.array(text.codes))
    if null is not None:
        items = pc.if_else(pa.array(~null), items, pa.scalar(None, raw))
    elif pa.types.is_decimal(item) and len(items):
        # Rows that are null leave an empty item in lists.
        items = pc.if_else(pc.equal(pc.binary_length(items), 0), pa.scalar("0", raw), items)
    return items.cast(pa.string()).cast(item) if pa.types.is_decimal(item) else items.cast(item)


def _nested(field: UnischemaField, column: Column, items: pa.Array, kind: pa.DataType, place: Place | None) -> pa.Array:
    """Items inside a list for each dimension, innermost first."""
    kinds = [kind]
    for _ in field.shape[1:]:
        kinds.append(kinds[-1].value_type)
    # The lists of each dimension, as offsets into those of the next.
    offsets = list(column.splits)
    lists = column.rows if not offsets else int(offsets[-1][-1])
    for size in column.inner if offsets else field.shape:
        assert size is not None
        offsets.append(np.arange(lists + 1, dtype=np.int64) * size)
        lists *= size
    if lists > _MOST_ITEMS:
        raise _impossible(field, place, None, f"at most {_MOST_ITEMS} items at once", lists)
    made = items
    for axis in reversed(range(len(kinds))):
        bitmap, nulls = None, 0
        if axis == 0 and column.valid is not None:
            bitmap, nulls = pa.array(column.valid).buffers()[1], int((~column.valid).sum())
        starts = pa.py_buffer(offsets[axis].astype(np.int32))
        made = pa.Array.from_buffers(kinds[axis], len(offsets[axis]) - 1, [bitmap, starts], nulls, children=[made])
    return made
