"""One cell at a time, as petastorm's users call codecs: `codec.encode(field, value)`, `codec.decode(field, stored)`.

What Spark is handed row by row comes from here. Whole columns go other ways, which know the storage's range too; here
Spark checks that itself.
"""

from __future__ import annotations

import datetime as dt
import operator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place
from tfpetastorm.schema.codecs.base import DEFAULT_LIMITS, BadCellError, Codec, bad_cell_error

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def decode_binary(codec: Codec, field: UnischemaField, stored: Any) -> Any:
    """The value of one cell as petastorm gives it, of the bytes that `codec` stored.

    Raises DamagedDataError or UnsafeDataError if the bytes are not such a cell.
    """
    from tfpetastorm.schema.rows import cells_of

    if not isinstance(stored, (bytes, bytearray, memoryview)):
        raise bad_cell_error(f"expected bytes, found {type(stored).__name__}", Place(field=field.name))

    def on_bad(row: int, reason: str) -> None:
        raise bad_cell_error(reason, Place(field=field.name))

    cells = pa.array([bytes(stored)], codec.arrow_type(field))
    return cells_of(field, codec.decode_column(field, cells, on_bad, limits=DEFAULT_LIMITS))[0]


def encode_scalar_cell(field: UnischemaField, value: Any, storage: pa.DataType) -> Any:
    """A scalar as the Python object that Spark stores as `storage`.

    Raises TypeError for what is no scalar, BadCellError for a value that is not the field's or not the storage's kind.
    """
    if field.shape:
        raise BadCellError("a field of scalars: its shape must be an empty tuple", f"shape {field.shape}")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if hasattr(value, "__len__") and not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"Expected a scalar as a value for field {field.name!r}, found {type(value).__name__}.")
    types = pa.types
    if field.kind in ("datetime", "date"):
        return _time(field, value, storage)
    if types.is_boolean(storage):
        return bool(value)
    if types.is_integer(storage):
        return _in_range(field, _whole(value))
    if types.is_floating(storage):
        return float(value)
    if types.is_string(storage) or types.is_large_string(storage):
        return _text(value)
    if types.is_binary(storage) or types.is_large_binary(storage):
        return value.encode() if isinstance(value, str) else bytes(value)
    return value.item() if isinstance(value, np.generic) else value


def encode_without_codec(field: UnischemaField, value: Any) -> Any:
    """A cell of a field without a codec as the Python object that Spark stores (text and bytes both as strings)."""
    if not field.shape and field.kind in ("text", "bytes"):
        return encode_scalar_cell(field, value, pa.string())
    if not field.shape and field.kind == "number":
        return encode_scalar_cell(field, value, pa.from_numpy_dtype(field.dtype))
    if not field.shape and field.kind in ("datetime", "date"):
        return _time(field, value, pa.date32() if field.kind == "date" else pa.timestamp("us"))
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _time(field: UnischemaField, value: Any, storage: pa.DataType) -> Any:
    """A date or a datetime of UTC, as which moments without a zone count here; Spark would take them for local time."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    if not isinstance(value, (np.datetime64, dt.date)):
        raise BadCellError(str(field.dtype), f"{type(value).__name__} {value!r:.60}")
    given = np.datetime64(value)
    if np.isnat(given):
        if not field.nullable:
            raise BadCellError(f"a value of {field.dtype}", "NaT")
        return None
    unit = "D" if pa.types.is_date(storage) else "us"
    exact = given.astype(f"datetime64[{unit}]")
    stored = exact.item()
    if exact.astype(given.dtype) != given or not isinstance(stored, dt.date):
        expected = f"a whole number of {'days' if unit == 'D' else 'microseconds'} in the years 1 to 9999"
        raise BadCellError(expected, value)
    return stored.replace(tzinfo=dt.timezone.utc) if isinstance(stored, dt.datetime) else stored


def _whole(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        pass
    if isinstance(value, np.bool_):
        return int(value)
    number = int(value)
    if number != value:
        raise BadCellError("a whole number", repr(value))
    return number


def _in_range(field: UnischemaField, number: int) -> int:
    if field.kind == "number" and field.dtype.kind in "iu":
        info = np.iinfo(field.dtype)
        if not info.min <= number <= info.max:
            raise BadCellError(f"a number in the range of {field.dtype.name}", number)
    return number


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            expected = "a str (ScalarCodec(BinaryType()) stores any bytes)"
            raise BadCellError(expected, "bytes that are not UTF-8") from None
    if not isinstance(value, str):
        raise BadCellError("a str", f"{type(value).__name__} {value!r:.60}")
    return str(value)


def decode_scalar_cell(field: UnischemaField, stored: Any) -> Any:
    """A stored scalar as the NumPy scalar, `np.str_`, `np.bytes_` or `Decimal` that petastorm gives.

    Signed bytes of the field's own width are taken for its unsigned ones. Raises BadCellError for any other value
    that is out of the field's range or of another kind.
    """
    kind = field.kind
    try:
        if kind == "text":
            return np.str_(stored.decode() if isinstance(stored, bytes) else stored)
        if kind == "bytes":
            return np.bytes_(stored.encode() if isinstance(stored, str) else bytes(stored))
        if kind == "decimal":
            return stored if isinstance(stored, Decimal) else Decimal(str(stored))
        if kind in ("datetime", "date"):
            return _moment(stored).astype(field.dtype)
        return _number(field, stored)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, BadCellError):
            raise
        raise BadCellError(str(field.dtype), f"{type(stored).__name__} ({error})") from None


def _moment(stored: Any) -> Any:
    if isinstance(stored, dt.datetime) and stored.tzinfo is not None:
        stored = stored.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return np.datetime64(stored)


def _number(field: UnischemaField, stored: Any) -> Any:
    if isinstance(stored, (str, bytes)):
        raise BadCellError(field.dtype.name, repr(stored))
    if field.dtype.kind not in "iu":
        return field.dtype.type(stored)
    number = _whole(stored)
    info = np.iinfo(field.dtype)
    if info.min == 0 and -(1 << info.bits - 1) <= number < 0:
        number += 1 << info.bits
    return field.dtype.type(_in_range(field, number))


__all__ = ["decode_binary", "decode_scalar_cell", "encode_scalar_cell", "encode_without_codec"]
