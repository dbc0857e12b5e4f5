"""Scalars on their way to Arrow: whole arrays in a few passes, single cells from Python objects; both checked."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, describe
from tfpetastorm.schema.codecs.base import BadCellError, Cells, encode_cells, mismatch_error, null_error
from tfpetastorm.schema.codecs.buffers import aligned, physical_dtype, validity, zero_invalid
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.dtypes import dtype_name, unit_of

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def encode_scalar(field: UnischemaField, value: Any, storage: pa.DataType) -> Any:
    """One scalar as a Python value that Arrow stores as `storage`. Raises BadCellError if it is not the field's."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    kind = field.kind
    if kind == "number":
        return _number(field, value, storage)
    if kind == "text" and isinstance(value, str):
        try:
            encoded = value.encode()
        except UnicodeEncodeError:
            raise BadCellError("str", "a str with lone surrogates, which is not Unicode") from None
        return encoded if pa.types.is_binary(storage) or pa.types.is_large_binary(storage) else str(value)
    if kind == "bytes" and isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if kind == "decimal" and isinstance(value, (Decimal, int)) and not isinstance(value, bool):
        return stored_decimal(Decimal(value), storage)
    if kind == "datetime" and isinstance(value, (np.datetime64, dt.datetime)):
        return _datetime(field, value, storage)
    if kind == "date" and isinstance(value, (np.datetime64, dt.date)):
        return _date(value, storage)
    raise BadCellError(dtype_name(field.numpy_dtype), _shown(value))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '…'}"


def _number(field: UnischemaField, value: Any, storage: pa.DataType) -> Any:
    dtype = field.dtype
    if dtype.kind == "b":
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
    elif isinstance(value, (bool, np.bool_)):
        pass
    elif dtype.kind == "f":
        if isinstance(value, (int, float, np.integer, np.floating)):
            number = float(value)
            with np.errstate(over="ignore"):
                narrow = dtype.type(number)
            if np.isinf(narrow) and not np.isinf(number):
                raise BadCellError(f"a number in the range of {dtype.name}", _shown(value))
            # Arrow takes only NumPy's own scalar for half floats.
            return narrow if pa.types.is_float16(storage) else float(narrow)
    elif isinstance(value, (int, np.integer)):
        number = int(value)
        info = np.iinfo(dtype)
        if not info.min <= number <= info.max:
            raise BadCellError(f"a number in the range of {dtype.name}", _shown(value))
        return _storable(number, storage)
    raise BadCellError(dtype_name(field.numpy_dtype), _shown(value))


def _storable(number: int, storage: pa.DataType) -> Any:
    if pa.types.is_integer(storage):
        width = storage.bit_width
        signed = pa.types.is_signed_integer(storage)
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        if not low <= number <= high:
            raise BadCellError(f"a number that {storage} holds", number)
    return number


def stored_decimal(value: Decimal, storage: pa.DataType) -> Any:
    """The Decimal that `storage` holds, or its digits where that is text. Raises BadCellError for another value."""
    if not value.is_finite():
        raise BadCellError("a finite decimal", value)
    if not pa.types.is_decimal(storage):
        return str(value)
    sign, digits, exponent = value.as_tuple()
    shift = int(exponent) + storage.scale
    # Arrow must neither round nor overflow: zeros at the end may go, other digits may not.
    while shift < 0 and digits and digits[-1] == 0:
        digits, shift = digits[:-1], shift + 1
    if not any(digits):
        digits, shift = (0,), 0
    if shift < 0 or len(digits) + shift > storage.precision:
        raise BadCellError(f"a decimal that {storage} holds exactly", value)
    return Decimal((sign, (*digits, *[0] * shift), -storage.scale))


def _datetime(field: UnischemaField, value: Any, storage: pa.DataType) -> Any:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    given = np.datetime64(value)
    if np.isnat(given):
        return None
    unit = unit_of(field.dtype)
    exact = given.astype(f"datetime64[{unit}]")
    # NumPy overflows and truncates silently: the way back shows both.
    if exact.astype(given.dtype) != given:
        raise BadCellError(f"an instant that datetime64[{unit}] holds exactly", _shown(value))
    return _stored_time(exact, storage)


def _stored_time(value: Any, storage: pa.DataType) -> int:
    """The integer that `storage` holds for an instant. Raises BadCellError if it can't hold it exactly."""
    unit = "D" if pa.types.is_date32(storage) else "ms" if pa.types.is_date64(storage) else storage.unit
    stored = value.astype(f"datetime64[{unit}]")
    if stored.astype(value.dtype) != value or (
        pa.types.is_date64(storage) and stored.astype("datetime64[D]") != stored
    ):
        raise BadCellError(f"an instant that {storage} holds exactly", value)
    return int(stored.astype(np.int64))


def _date(value: Any, storage: pa.DataType) -> Any:
    if isinstance(value, dt.datetime):
        raise BadCellError("date", _shown(value))
    given = np.datetime64(value)
    day = given.astype("datetime64[D]")
    if not np.isnat(given) and day != given:
        raise BadCellError("date", _shown(value))
    if not np.isnat(day) and not -(2**31) <= int(day.astype(np.int64)) < 2**31:
        raise BadCellError("a date within 2^31 days of 1970", _shown(value))
    return None if np.isnat(day) else _stored_time(day, storage)


def encode_scalar_array(field: UnischemaField, values: Array, storage: pa.DataType, row_of: int = 1) -> pa.Array:
    """A one-dimensional array of scalars as Arrow's `storage`, checked as a whole.

    row_of: how many items make up a row, for messages. Raises EncodeError for another dtype, or the first row
    whose value the field or its storage can't hold.
    """
    if values.ndim != 1:
        raise _wrong(field, None, dtype_name(field.numpy_dtype), f"an array of shape {values.shape}")
    given, dtype = values.dtype, field.dtype
    if field.kind in ("text", "bytes") and given.kind == ("U" if field.kind == "text" else "S"):
        return encode_cells(field, values.tolist(), lambda f, v: encode_scalar(f, v, storage), storage)
    if field.kind in ("datetime", "date") and given.kind == "M":
        return _encode_times(field, values, storage, row_of)
    castable = field.kind == "number" and (
        given.kind == dtype.kind
        or (dtype.kind == "f" and given.kind in "iuf")
        or (dtype.kind in "iu" and given.kind in "iu")
    )
    if not castable:
        raise _wrong(field, None, dtype_name(field.numpy_dtype), f"an array of {given}")
    if given != dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = values.astype(dtype)
        _refuse(field, values, _lost(values, narrow), f"a number in the range of {dtype.name}", row_of)
        values = narrow
    values = np.ascontiguousarray(values, dtype.newbyteorder("="))
    stored = pa.array(values)
    if stored.type == storage:
        return stored
    if dtype.kind in "iu" and pa.types.is_integer(storage):
        narrow = values.astype(physical_dtype(storage))
        _refuse(field, values, _lost(values, narrow), f"a number that {storage} holds", row_of)
        return pa.array(narrow, storage)
    if field.kind == "number" and pa.types.is_floating(storage):
        # Not by Arrow's cast: pyarrow 15 has none for half floats.
        with np.errstate(over="ignore"):
            narrow = values.astype(physical_dtype(storage))
        lost = _lost(values, narrow) if dtype.kind == "f" else narrow.astype(dtype) != values
        _refuse(field, values, np.asarray(lost), f"a number that {storage} holds", row_of)
        return pa.array(narrow, storage)
    try:
        return stored.cast(storage)
    except pa.ArrowException as error:
        raise EncodeError(describe(f"Values can't be stored as {storage}: {error}", Place(field=field.name))) from None


def encode_plain_scalars(field: UnischemaField, values: Cells, storage: pa.DataType) -> pa.Array | None:
    """A sequence of plain Python or NumPy scalars as Arrow's `storage`, without Python per row.

    Returns None for what has to be looked at value by value, above all to name a row that is wrong.
    """
    kinds = set(map(type, values))
    nullable = type(None) in kinds
    kinds.discard(type(None))
    if len(kinds) != 1 or (nullable and not field.nullable):
        return None
    kind = kinds.pop()
    try:
        if (kind is str and field.kind == "text") or (kind is bytes and field.kind == "bytes"):
            return pa.array(values, storage)
        if field.kind != "number":
            return None
        if kind in (int, float):
            wide = pa.array(values, pa.int64() if kind is int else pa.float64())
            valid = validity(wide)
            numbers = zero_invalid(aligned(wide, np.dtype(np.int64 if kind is int else np.float64)), valid)
        elif issubclass(kind, (np.number, np.bool_)) and not nullable:
            numbers, valid = np.array(values, np.dtype(kind)), None
        else:
            return None
        stored = encode_scalar_array(field, numbers, storage)
    except (EncodeError, pa.ArrowException, OverflowError, UnicodeError):
        return None
    # Not if_else, which knew no float16 before pyarrow 16.
    return stored if valid is None else stored.take(pa.array(np.arange(len(valid)), mask=~valid))


def _lost(values: Array, narrow: Array) -> Array:
    if narrow.dtype.kind == "f":
        return np.asarray(np.isinf(narrow) & ~np.isinf(values))
    # Comparing int64 with uint64 goes through floats in NumPy 1: the signs tell what equality does not.
    return np.asarray((narrow.astype(values.dtype) != values) | ((narrow < 0) != (values < 0)))


def _encode_times(field: UnischemaField, values: Array, storage: pa.DataType, row_of: int) -> pa.Array:
    exact = values.astype(field.dtype)
    missing = np.isnat(values)
    if missing.any() and not field.nullable:
        raise null_error(field, int(np.argmax(missing)) // row_of)
    lost = (exact.astype(values.dtype) != values) & ~missing
    if field.kind == "date":
        days = exact.astype(np.int64)
        lost |= ((days < -(2**31)) | (days >= 2**31)) & ~missing
        expected = "a date within 2^31 days of 1970"
    else:
        expected = f"an instant that {field.dtype} holds exactly"
    _refuse(field, values, np.asarray(lost), expected, row_of)
    try:
        return pa.array(exact, mask=missing if missing.any() else None).cast(storage)
    except pa.ArrowException as error:
        raise EncodeError(describe(f"Values can't be stored as {storage}: {error}", Place(field=field.name))) from None


def _refuse(field: UnischemaField, values: Array, lost: Array, expected: str, row_of: int) -> None:
    if lost.any():
        first = int(np.argmax(lost))
        raise _wrong(field, first // row_of, expected, values[first])


def _wrong(field: UnischemaField, row: int | None, expected: object, found: object) -> EncodeError:
    return mismatch_error(field, row, expected, found)
