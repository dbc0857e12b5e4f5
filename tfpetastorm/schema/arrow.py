"""A Unischema for Parquet files that have none: inferred from their Arrow schema."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import OptionError, Place, SchemaError, SchemaMismatchError, describe
from tfpetastorm.schema.codecs import OpaqueCodec, ScalarCodec, TensorCodec, decode_column
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.buffers import is_textual, physical_dtype, storage_of
from tfpetastorm.schema.codecs.lists import is_list
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema


@dataclass(frozen=True)
class Inferred:
    """A schema found in files.

    paths: for each field the column it is read from, and the members to go down to where that is a struct.
    omitted: the columns left out, and why.
    """

    schema: Unischema
    paths: Mapping[str, tuple[str, ...]]
    omitted: Mapping[str, str]


class _UnmappedError(Exception):
    """A type that no field can have; its text says why."""


def infer_schema(
    arrow_schema: pa.Schema, name: str = "Parquet", unmapped: Literal["error", "omit"] = "error"
) -> Inferred:
    """The Unischema that a plain Parquet file's columns amount to.

    Members of structs become fields named `a.b`; each level of lists a dimension, None for lists of any length;
    decimals and zoned timestamps keep their stored type by a ScalarCodec.
    unmapped: "error" raises SchemaError naming the first column that no field can hold (maps, unions, times, lists of
    structs, …); "omit" leaves such columns out.
    """
    if unmapped not in ("error", "omit"):
        raise OptionError(
            describe("Not a treatment of unmapped columns", expected="error or omit", found=repr(unmapped))
        )
    fields: list[UnischemaField] = []
    paths: dict[str, tuple[str, ...]] = {}
    omitted: dict[str, str] = {}
    for path, kind, nullable in _leaves(arrow_schema):
        column = ".".join(path)
        try:
            if column in paths:
                raise _UnmappedError("another column has the same name")
            fields.append(_field(column, kind, nullable))
            paths[column] = path
        except (_UnmappedError, SchemaError) as error:
            if unmapped == "error":
                raise SchemaError(
                    describe(
                        f"A column has no field that could hold it: {error}",
                        Place(field=column),
                        found=kind,
                        expected="numbers, strings, bytes, decimals, dates, timestamps, and lists or structs of them",
                        remedy="unmapped='omit' leaves such columns out.",
                    )
                ) from None
            omitted[column] = f"{kind}: {error}"
    return Inferred(Unischema(name, fields), paths, omitted)


def _leaves(
    columns: Any, path: tuple[str, ...] = (), nullable: bool = False
) -> Iterator[tuple[Any, pa.DataType, bool]]:
    for column in columns:
        below = (*path, column.name)
        absent = nullable or column.nullable
        if pa.types.is_struct(column.type):
            members = [column.type.field(position) for position in range(column.type.num_fields)]
            yield from _leaves(members, below, absent)
        else:
            yield below, column.type, absent


def _field(name: str, kind: pa.DataType, nullable: bool) -> UnischemaField:
    if str(getattr(kind, "extension_name", "")) == "arrow.fixed_shape_tensor":
        order = kind.permutation
        if order is not None and list(order) != sorted(order):
            raise _UnmappedError("a tensor whose dimensions are permuted")
        dtype, _ = _scalar(kind.value_type)
        return UnischemaField(name, dtype, tuple(kind.shape), TensorCodec(), nullable)
    shape: list[int | None] = []
    kind = _plain(kind)
    while is_list(kind):
        shape.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = _plain(kind.value_type)
    dtype, codec = _scalar(kind)
    return UnischemaField(name, dtype, tuple(shape), None if shape else codec, nullable)


def _plain(kind: pa.DataType) -> pa.DataType:
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _scalar(kind: pa.DataType) -> tuple[Any, Codec | None]:
    types = pa.types
    if types.is_boolean(kind):
        return np.bool_, None
    if types.is_integer(kind) or types.is_floating(kind):
        return physical_dtype(kind), None
    if types.is_decimal(kind):
        return Decimal, ScalarCodec(kind)
    if types.is_date(kind):
        return dt.date, None
    if types.is_timestamp(kind):
        return np.dtype(f"datetime64[{kind.unit}]"), ScalarCodec(kind) if kind.tz else None
    if is_textual(kind):
        return (np.bytes_ if "binary" in str(kind) else np.str_), None
    raise _UnmappedError("no field has such values")


def column_at(column: pa.Array, path: tuple[str, ...]) -> pa.Array:
    """The member of a struct column that `path` leads to; null wherever a struct around it is.

    path: as `Inferred.paths` gives it; its first part is the column itself.
    """
    for member in path[1:]:
        column = storage_of(column)
        column = column.flatten()[column.type.get_field_index(member)]
    return column


def check_stored(schema: Unischema, arrow_schema: pa.Schema, file: str | None = None) -> None:
    """Raise SchemaMismatchError if a column that both have can't be read as the schema's field.

    Fields whose codec is not known are not checked; columns that are missing are the reader's affair.
    """
    for field in schema:
        index = arrow_schema.get_field_index(field.name)
        if index < 0 or isinstance(field.codec, OpaqueCodec):
            continue
        kind = arrow_schema.field(index).type
        try:
            decode_column(field, pa.array([], _storage(kind)), _ignore)
        except SchemaMismatchError as error:
            place = Place(file=file, field=field.name)
            raise SchemaMismatchError(
                describe("A column can't be read as its field", place, expected=str(field), found=kind)
            ) from error


def _storage(kind: pa.DataType) -> pa.DataType:
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def _ignore(row: int, reason: str) -> None:
    """An array without rows has no bad cell."""
