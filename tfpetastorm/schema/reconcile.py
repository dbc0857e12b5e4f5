"""One Arrow schema for files whose schemas differ, where every value keeps its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tfpetastorm.errors import Place, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.lists import is_list


class _ApartError(Exception):
    """Two types that have no common one."""


def reconcile(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """The schema that all files can be read as. schemas: Arrow schemas by file name, in order.

    Columns come in the order of the first file that has them; one that some file lacks is nullable. Types are widened
    where no value changes: integers and floats to the wider, strings of any layout to strings, timestamps to the
    finest unit, decimals to more digits, structs member by member, lists by their items.

    Raises SchemaMismatchError naming both files, the column and both types, otherwise. Metadata is dropped.
    """
    distinct: list[tuple[str, pa.Schema]] = []
    for file, schema in schemas.items():
        if not any(schema.equals(known) for _, known in distinct):
            distinct.append((file, schema))
    if not distinct:
        return pa.schema([])
    columns: dict[str, pa.Field] = {}
    origin: dict[str, str] = {}
    for position, (file, schema) in enumerate(distinct):
        for column in schema:
            column = column.remove_metadata()
            if column.name not in columns:
                columns[column.name] = column.with_nullable(column.nullable or position > 0)
                origin[column.name] = file
                continue
            known = columns[column.name]
            try:
                kind = common_type(known.type, column.type)
            except _ApartError:
                raise SchemaMismatchError(
                    describe(
                        f"Files {origin[column.name]} and {file} disagree about a column",
                        Place(field=column.name),
                        expected=f"{known.type} as in {origin[column.name]}",
                        found=f"{column.type} in {file}",
                        remedy="Rewrite one of them with the other's type, or open them apart.",
                    )
                ) from None
            if kind != known.type:
                origin[column.name] = file
            columns[column.name] = pa.field(column.name, kind, known.nullable or column.nullable)
        for name, column in columns.items():
            if schema.get_field_index(name) < 0:
                columns[name] = column.with_nullable(True)
    return pa.schema(list(columns.values()))


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of both without loss. Raises an error private to this module if there is none."""
    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if types.is_dictionary(one) or types.is_dictionary(other):
        return common_type(_plain(one), _plain(other))
    if types.is_integer(one) and types.is_integer(other):
        return _common_integer(one, other)
    if types.is_floating(one) and types.is_floating(other):
        return one if one.bit_width >= other.bit_width else other
    if types.is_timestamp(one) and types.is_timestamp(other):
        if (one.tz is None) != (other.tz is None):
            raise _ApartError
        units = ("s", "ms", "us", "ns")
        return pa.timestamp(max(one.unit, other.unit, key=units.index), tz=one.tz)
    if types.is_date(one) and types.is_date(other):
        return pa.date32()
    if types.is_decimal(one) and types.is_decimal(other):
        return _common_decimal(one, other)
    if types.is_struct(one) and types.is_struct(other):
        return _common_struct(one, other)
    if is_list(one) and is_list(other):
        item = common_type(one.value_type, other.value_type)
        sizes = [kind.list_size if types.is_fixed_size_list(kind) else None for kind in (one, other)]
        return pa.list_(item, sizes[0]) if sizes[0] is not None and sizes[0] == sizes[1] else pa.list_(item)
    for family, result in (("string", pa.string()), ("binary", pa.binary())):
        if all(_is_of(kind, family) for kind in (one, other)):
            large = any(str(kind).startswith("large") for kind in (one, other))
            return result if not large else pa.large_string() if family == "string" else pa.large_binary()
    raise _ApartError


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_of(kind: pa.DataType, family: str) -> bool:
    return str(kind).split("[")[0] in (family, f"large_{family}", f"{family}_view", f"fixed_size_{family}")


def _common_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    signed = [kind for kind in (one, other) if pa.types.is_signed_integer(kind)]
    wide, narrow = (one, other) if one.bit_width >= other.bit_width else (other, one)
    if len(signed) != 1 or (wide in signed and wide.bit_width > narrow.bit_width):
        return wide
    bits = 2 * max(kind.bit_width for kind in (one, other) if kind not in signed)
    if bits > 64:
        raise _ApartError
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[max(bits, signed[0].bit_width)]


def _common_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    scale = max(one.scale, other.scale)
    precision = max(one.precision - one.scale, other.precision - other.scale) + scale
    if precision > 76:
        raise _ApartError
    wide = precision > 38 or "256" in str(one) + str(other)
    return pa.decimal256(precision, scale) if wide else pa.decimal128(precision, scale)


def _common_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    members: dict[str, Any] = {member.name: member for member in _members(one)}
    names = {member.name for member in _members(other)}
    for name, member in members.items():
        if name not in names:
            members[name] = member.with_nullable(True)
    for member in _members(other):
        known = members.get(member.name)
        if known is None:
            members[member.name] = member.with_nullable(True)
        else:
            kind = common_type(known.type, member.type)
            members[member.name] = pa.field(member.name, kind, known.nullable or member.nullable)
    return pa.struct(list(members.values()))


def _members(kind: pa.DataType) -> list[Any]:
    return [kind.field(position) for position in range(kind.num_fields)]
