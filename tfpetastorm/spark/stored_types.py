"""What Spark stores of a schema's fields: the DataFrame's types, and encoded Arrow columns in those types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, SchemaError, describe
from tfpetastorm.schema.codecs import TensorCodec, arrow_type
from tfpetastorm.schema.codecs.buffers import aligned, storage_of, validity
from tfpetastorm.schema.codecs.lists import is_list
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.spark_types import spark_type, spark_type_of_storage, spark_types
from tfpetastorm.schema.unischema import Unischema

#: Spark has no unsigned integers and no halves: each takes the next wider type. Nor has it large or other dates.
_STORED = {
    "uint8": pa.int16(), "uint16": pa.int32(), "uint32": pa.int64(), "halffloat": pa.float32(),
    "large_string": pa.string(), "large_binary": pa.binary(), "date64[ms]": pa.date32(),
}  # fmt: skip


def encoded_schema(schema: Unischema) -> Any:
    """The StructType of encoded rows, arrays without a codec as Spark's own. Raises SchemaError naming the field."""
    types = spark_types()
    return types.StructType([types.StructField(field.name, _frame_type(field), field.nullable) for field in schema])


def read_schema(schema: Unischema) -> Any:
    """The StructType of stored columns as Spark reads them: nullable, as all that it reads from files is.

    Raises SchemaError naming a field that Spark has no type for.
    """
    types = spark_types()
    parts = []
    for field in schema:
        try:
            parts.append(types.StructField(field.name, _read(stored_kind(field)), True))
        except SchemaError as error:
            raise SchemaError(f"Spark can't read field {field.name!r}: {error}") from None
    return types.StructType(parts)


def _read(kind: pa.DataType) -> Any:
    if is_list(kind):
        return spark_types().ArrayType(_read(kind.value_type), containsNull=True)
    # uint64, which Spark does not write, it reads as a decimal.
    return spark_type_of_storage("decimal128(20, 0)" if pa.types.is_uint64(kind) else str(kind))


def _frame_type(field: UnischemaField) -> Any:
    if not field.shape or (field.codec is not None and not isinstance(field.codec, TensorCodec)):
        return spark_type(field)
    try:
        return _of_kind(stored_kind(field))
    except SchemaError as error:
        message = f"Was not able to map the items of field {field.name!r} to a spark type: {error}"
        raise SchemaError(message) from None


def _of_kind(kind: pa.DataType) -> Any:
    if is_list(kind):
        return spark_types().ArrayType(_of_kind(kind.value_type), containsNull=False)
    return spark_type_of_storage(str(kind))


def stored_kind(field: UnischemaField) -> pa.DataType:
    """The Arrow type in which Spark takes the encoded column of a field."""
    if field.codec is None and not field.shape and field.kind == "bytes":
        return pa.string()
    return _kind(arrow_type(field))


def _kind(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if is_list(kind):
        return pa.list_(pa.field("element", _kind(kind.value_type), nullable=False))
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    return _STORED.get(str(kind), kind)


def to_stored(field: UnischemaField, array: pa.Array) -> pa.Array:
    """An encoded column in the type that Spark stores. Raises EncodeError naming field and row of what it can't."""
    kind = stored_kind(field)
    try:
        return _cast(array, kind)
    except pa.ArrowException as error:
        row = next((row for row in range(len(array)) if not _casts(array.slice(row, 1), kind)), None)
        text = field.kind == "bytes" and not field.shape
        raise EncodeError(
            describe(
                "Spark can't store a value",
                Place(field=field.name, row=row),
                expected="UTF-8" if text else kind,
                found=str(error).partition("\n")[0].rstrip("."),
                remedy='ScalarCodec("binary") stores any bytes.' if text else None,
            )
        ) from None


def _casts(array: pa.Array, kind: pa.DataType) -> bool:
    try:
        _cast(array, kind)
    except pa.ArrowException:
        return False
    return True


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    array = storage_of(array)
    if array.type == kind:
        return array
    if pa.types.is_list(kind):
        return _lists(array, kind)
    if pa.types.is_timestamp(kind):
        # Instants without a zone are UTC: the same numbers.
        return array.cast(pa.timestamp("us", array.type.tz)).view(kind)
    if pa.types.is_float16(array.type):
        # pyarrow 15 has no cast of halves.
        valid = validity(array)
        values = aligned(array, np.dtype(np.float16)).astype(np.float32)
        return pa.array(values, kind, mask=None if valid is None else ~valid)
    return array.cast(kind)


def _lists(array: pa.Array, kind: pa.DataType) -> pa.Array:
    items = _cast(array.flatten(), kind.value_type)
    valid = validity(array)
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size)
        if valid is not None:
            lengths[~valid] = 0
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    else:
        given = array.offsets.to_numpy()
        offsets = given - given[0]
    mask = None if valid is None else np.append(~valid, False)
    made = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32), mask=mask), items)
    # The same buffers under the type's own name of the items.
    return made.cast(kind) if made.type != kind else made
