"""Fields as petastorm's programs write and compare them, and its functions on schemas and single rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from tfpetastorm.errors import DecodeFieldError, EncodeError, SchemaError
from tfpetastorm.schema.codecs import arrow_type
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.scalars import stored_decimal
from tfpetastorm.schema.codecs.single import decode_scalar_cell, encode_without_codec
from tfpetastorm.schema.dtypes import Kind
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema


@dataclass(frozen=True, eq=False)
class PetastormField(UnischemaField):
    """A UnischemaField that compares without its codec and is a tuple of its parts, as petastorm's is.

    A type that no field can hold, or a codec that can't hold the field, raises SchemaError not at once but where the
    field is first stored or read: petastorm's programs may declare such a field and never use it.
    """

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
            return
        except SchemaError as error:
            problem = error
        codec: object = self.codec
        if codec is not None and not isinstance(codec, Codec):
            raise problem
        # Names and shapes are always checked.
        checked = UnischemaField(self.name, np.int64, self.shape, None, self.nullable)
        try:
            dtype = UnischemaField(self.name, self.numpy_dtype).numpy_dtype
        except SchemaError:
            dtype = self.numpy_dtype
        object.__setattr__(self, "numpy_dtype", dtype)
        object.__setattr__(self, "shape", checked.shape)
        object.__setattr__(self, "nullable", checked.nullable)
        object.__setattr__(self, "_problem", problem)

    @property
    def usable(self) -> bool:
        """Whether cells of this field can be stored."""
        return "_problem" not in self.__dict__

    @cached_property
    def kind(self) -> Kind:
        """One of "number", "text", "bytes", "decimal", "datetime", "date"."""
        self.require_usable()
        return super().kind

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the items in memory."""
        self.require_usable()
        return super().dtype

    def require_usable(self) -> None:
        """Raise SchemaError, that of declaring the field, if no cell of it can be stored."""
        if not self.usable:
            raise self.__dict__["_problem"]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnischemaField):
            return NotImplemented
        return self._compared() == (other.name, other.numpy_dtype, other.shape, other.nullable)

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[Any, ...]:
        return (self.name, self.numpy_dtype, self.shape, self.nullable)

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, part.name) for part in fields(self)])

    def _asdict(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def _replace(self, **changes: Any) -> PetastormField:
        return replace(self, **changes)


def match_unischema_fields(schema: Unischema, field_regex: list[str] | None) -> list[UnischemaField]:
    """The fields whose whole name matches one of the regular expressions, in the schema's order.

    Warns where a match of only the beginning, as petastorm once did it, would give others.
    """
    patterns = [re.compile(pattern) for pattern in field_regex or []]
    whole = [field for field in schema if any(pattern.fullmatch(field.name) for pattern in patterns)]
    begun = [field for field in schema if any(pattern.match(field.name) for pattern in patterns)]
    differ = sorted({field.name for field in whole} ^ {field.name for field in begun})
    if differ:
        warnings.warn(
            "schema_fields behavior has changed: a regular expression has to match a whole name. "
            f"That leaves out: {', '.join(differ)}",
            UserWarning,
            stacklevel=2,
        )
    return whole


def insert_explicit_nulls(unischema: Unischema, row_dict: MutableMapping[str, Any]) -> None:
    """Add None for each nullable field that the row lacks. Raises EncodeError (a ValueError) if another is missing."""
    for field in unischema:
        if field.name not in row_dict:
            if not field.nullable:
                raise EncodeError(f"Field {field.name!r} is not found in the row, but is not nullable.")
            row_dict[field.name] = None


def encode_row(unischema: Unischema, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the Python objects that Spark stores, by name and in the schema's order.

    Missing nullable fields are None. Raises EncodeError naming the field: other names, a null where there is none, or a
    value that is not the field's; TypeError for what is no scalar in a field of scalars.
    """
    complete = dict(row)
    insert_explicit_nulls(unischema, complete)
    if complete.keys() != unischema.fields.keys():
        unknown = sorted(complete.keys() - unischema.fields.keys())
        raise EncodeError(f"Fields of a row do not match the schema {unischema.schema_name!r}: it has no {unknown}.")
    return {field.name: _encoded(field, complete[field.name]) for field in unischema}


def _encoded(field: UnischemaField, value: Any) -> Any:
    if value is None:
        if not field.nullable:
            raise EncodeError(f"Field {field.name!r} is not nullable, but its value is None.")
        return None
    try:
        if isinstance(value, Decimal) and field.kind == "decimal" and not field.shape:
            # Spark would round it, and make a null of what is no number.
            stored_decimal(value, arrow_type(field))
        if field.codec is not None:
            return field.codec.encode(field, value)
        return encode_without_codec(field, value)
    except TypeError:
        raise
    except ValueError as error:
        raise EncodeError(f"A value does not match its field {field.name!r}: {error}.") from error


def decode_row(row: Mapping[str, Any], schema: Unischema) -> dict[str, Any]:
    """A row of encoded values as petastorm gives it. Values that the schema has no field for are left out.

    Fields without a codec are made the field's NumPy type if they are scalars, else given as they are. Raises
    DecodeFieldError naming the field.
    """
    return {name: _decoded(schema.fields[name], value) for name, value in row.items() if name in schema.fields}


def _decoded(field: UnischemaField, value: Any) -> Any:
    if value is None:
        return None
    try:
        if field.codec is not None:
            return field.codec.decode(field, value)
        if field.shape or (isinstance(field, PetastormField) and not field.usable):
            return value
        return decode_scalar_cell(field, value)
    except Exception as error:
        raise DecodeFieldError(f"Decoding field {field.name!r} failed: {error}") from error
