"""Fields without a codec: Arrow's own scalars, and Arrow lists for shapes other than ()."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.schema.codecs.base import Cells, OnBad, encode_cells
from tfpetastorm.schema.codecs.flat import decode_flat
from tfpetastorm.schema.codecs.lists import decode_lists
from tfpetastorm.schema.codecs.lists_encode import encode_lists
from tfpetastorm.schema.codecs.scalars import encode_plain_scalars, encode_scalar, encode_scalar_array
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.dtypes import unit_of

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

#: How Decimals lie in a file unless a ScalarCodec says otherwise: as Spark's default.
DEFAULT_DECIMAL = (38, 18)


def native_scalar_type(field: UnischemaField) -> pa.DataType:
    """The Arrow type of one item of `field`."""
    if field.kind == "text":
        return pa.string()
    if field.kind == "bytes":
        return pa.binary()
    if field.kind == "decimal":
        return pa.decimal128(*DEFAULT_DECIMAL)
    if field.kind == "date":
        return pa.date32()
    if field.kind == "datetime":
        return pa.timestamp(unit_of(field.dtype))
    return pa.from_numpy_dtype(field.dtype)


def native_type(field: UnischemaField, item: pa.DataType | None = None) -> pa.DataType:
    """The Arrow type of a field without a codec: its scalar type within one list for each dimension."""
    kind = item if item is not None else native_scalar_type(field)
    for axis in reversed(range(len(field.shape))):
        size = field.shape[axis]
        # Parquet has no fixed-size list that is null; there a plain list does as well.
        plain = size is None or (axis == 0 and field.nullable)
        kind = pa.list_(kind) if plain else pa.list_(kind, size)
    return kind


def decode_native(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> Column:
    """All rows of a field without a codec."""
    if field.shape:
        return decode_lists(field, array, on_bad)
    values, valid = decode_flat(field, array, on_bad)
    return Column(values, (), valid)


def encode_native(field: UnischemaField, values: Cells, item: pa.DataType | None = None) -> pa.Array:
    """All cells of a field without a codec, stored as `item` (by default the field's own scalar type)."""
    item = item if item is not None else native_scalar_type(field)
    if not field.shape:
        if isinstance(values, np.ndarray) and values.dtype != object:
            return encode_scalar_array(field, values, item)
        fast = encode_plain_scalars(field, values, item)
        if fast is not None:
            return fast
        return encode_cells(field, values, lambda field, value: encode_scalar(field, value, item), item)
    return encode_lists(field, values, item, native_type(field, item))


def encode_native_cell(field: UnischemaField, value: Any, item: pa.DataType | None = None) -> Any:
    """One cell of a field without a codec, as a value that Arrow accepts."""
    item = item if item is not None else native_scalar_type(field)
    if not field.shape:
        return encode_scalar(field, value, item)
    return encode_lists(field, [value], item, native_type(field, item))[0].as_py()
