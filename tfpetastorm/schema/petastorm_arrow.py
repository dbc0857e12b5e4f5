"""A Unischema for plain Parquet of the types that petastorm knew; `schema/arrow.py` infers all that we know."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DatasetWarning, SchemaError
from tfpetastorm.schema.arrow import infer_schema
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

_SCALARS = (
    "int8", "uint8", "int16", "int32", "int64", "string", "boolean", "float32", "float64", "decimal", "binary",
    "fixed_size_binary", "date", "timestamp",
)  # fmt: skip


def petastorm_schema(source: Any, unsupported: Literal["omit", "error"]) -> Unischema:
    """The schema of `source`, an Arrow schema or a ParquetDataset; folders' fields first, as petastorm had them.

    Raises SchemaError for a column of another type, or warns and leaves it out.
    """
    arrow_schema, partitions = _columns(source)
    fields = [_partition(name, kind) for name, kind in partitions]
    for column in arrow_schema:
        kind = column.type
        nested = pa.types.is_list(kind) and (pa.types.is_list(kind.value_type) or pa.types.is_struct(kind.value_type))
        if nested:
            warnings.warn(f"[ARROW-1644] Ignoring unsupported structure {kind} of field {column.name!r}.", stacklevel=3)
        elif _known(kind):
            # Codecs only tell how values are stored; petastorm's inferred fields never had one.
            inferred = infer_schema(pa.schema([column])).schema.fields[column.name]
            fields.append(UnischemaField(column.name, inferred.numpy_dtype, inferred.shape, None, inferred.nullable))
        elif unsupported == "error":
            raise SchemaError(
                f"Cannot auto-create unischema due to unsupported column type {kind} of column {column.name!r}."
            )
        else:
            what = f"Column {column.name!r} has an unsupported type {kind} and is left out."
            warnings.warn(what, DatasetWarning, stacklevel=3)
    return Unischema("inferred_schema", fields)


def _known(kind: pa.DataType) -> bool:
    item = kind.value_type if pa.types.is_list(kind) else kind
    return any(getattr(pa.types, f"is_{name}")(item) for name in _SCALARS)


def _columns(source: Any) -> tuple[pa.Schema, list[tuple[str, pa.DataType]]]:
    if isinstance(source, pa.Schema):
        return source, []
    if hasattr(source, "pieces"):  # pyarrow's dataset as it was up to version 14
        schema = source.pieces[0].get_metadata().schema.to_arrow_schema()
        return schema, [(part.name, part.dictionary.type) for part in source.partitions or []]
    partitioning = getattr(source, "partitioning", None)
    # pyarrow names all columns among those of folders; the latter are those that files have not.
    names = set(partitioning.schema.names) if partitioning is not None else set()
    for fragment in list(getattr(source, "fragments", ()))[:1]:
        names -= set(fragment.physical_schema.names)
    partitions = [(column.name, _plain(column.type)) for column in source.schema if column.name in names]
    return pa.schema([column for column in source.schema if column.name not in names]), partitions


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _partition(name: str, kind: pa.DataType) -> UnischemaField:
    if pa.types.is_string(kind):
        return UnischemaField(name, np.str_, ())
    if pa.types.is_integer(kind):
        return UnischemaField(name, np.int64, ())
    raise SchemaError(f"Folders' values of {name!r} are {kind}; expected strings or int64.")
