"""One flat Arrow array of scalars to what its field declares: wrapped, cast, rescaled, checked as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import Place, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.base import OnBad
from tfpetastorm.schema.codecs.buffers import (
    aligned,
    is_textual,
    physical_dtype,
    storage_of,
    text_of,
    validity,
    zero_invalid,
)
from tfpetastorm.schema.columns import Array, Text, empty_aligned
from tfpetastorm.schema.dtypes import dtype_name, unit_of

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

_TICKS = {"D": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}  # a day
_DECIMAL_PATTERN = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def decode_flat(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> tuple[Array | Text, Array | None]:
    """The items of `array` in memory, and which are valid (None if all).

    Integers wrap as petastorm's casts do (uint8 stored as int8 comes back right). Items that have no value in the
    field's type are reported to `on_bad` by their index and left zero or empty.

    Raises SchemaMismatchError if the stored type can't become the field's.
    """
    array = storage_of(array)
    if pa.types.is_null(array.type):
        return _all_null(field, len(array))
    if pa.types.is_dictionary(array.type) and not (field.is_text and is_textual(array.type)):
        array = array.dictionary_decode()
    if field.is_text:
        return _decode_text(field, array, on_bad), validity(array)
    if field.kind == "number":
        return _decode_number(field, array, on_bad)
    return _decode_time(field, array, on_bad)


def _all_null(field: UnischemaField, count: int) -> tuple[Array | Text, Array | None]:
    valid = np.zeros(count, np.bool_)
    if field.is_text:
        return Text(np.zeros(count + 1, np.int64), np.empty(0, np.uint8)), valid if count else None
    values = empty_aligned((count,), field.dtype)
    values[...] = np.zeros((), field.dtype)
    return values, valid if count else None


def _decode_text(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> Text:
    kind = array.type
    if field.kind == "decimal":
        if pa.types.is_decimal(kind) or pa.types.is_integer(kind):
            return text_of(array.cast(pa.string()))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return _only(array, pc.match_substring_regex(array, _DECIMAL_PATTERN), on_bad, "not a decimal number")
        raise _unfit(field, kind)
    if not is_textual(kind):
        raise _unfit(field, kind)
    values = array.dictionary if pa.types.is_dictionary(kind) else array
    if field.kind == "text" and "binary" in str(values.type):
        # Bytes read as text must be UTF-8; files that declare strings vouch for that themselves.
        offsets, data = (
            (text := text_of(array.dictionary_decode() if values is not array else array)).offsets,
            text.data,
        )
        try:
            array.cast(pa.string()) if values is array else values.cast(pa.string())
        except pa.ArrowException:
            good = np.ones(len(text), np.bool_)
            for row in range(len(text)):
                try:
                    bytes(data[offsets[row] : offsets[row + 1]]).decode()
                except UnicodeDecodeError:
                    good[row] = False
            plain = array.dictionary_decode() if values is not array else array
            return _only(plain, pa.array(good), on_bad, "not UTF-8")
    return text_of(array)


def _only(array: pa.Array, good: pa.Array, on_bad: OnBad, reason: str) -> Text:
    # Rows that are not good become empty; nulls (whose `good` is null) already are.
    bad = np.flatnonzero(~pc.fill_null(good, True).to_numpy(zero_copy_only=False))
    for row in bad:
        on_bad(int(row), reason)
    if len(bad):
        array = pc.if_else(good, array, pa.scalar(None, array.type))
    return text_of(array)


def _decode_number(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> tuple[Array, Array | None]:
    valid = validity(array)
    if pa.types.is_boolean(array.type):
        # Arrow's bits become bytes in one pass, into aligned memory.
        stored = aligned(pc.fill_null(array, False).cast(pa.uint8()), np.dtype(np.uint8)).view(np.bool_)
        return (stored if field.dtype == np.bool_ else _cast(stored, field.dtype)), valid
    if pa.types.is_decimal(array.type) and field.dtype.kind == "f":
        array = array.cast(pa.float64())
    physical = physical_dtype(array.type)
    if physical is None or pa.types.is_temporal(array.type):
        raise _unfit(field, array.type)
    stored = zero_invalid(aligned(array, physical), valid)
    if stored.dtype == field.dtype:
        return stored, valid
    if physical.kind == "f" and field.dtype.kind in "iu":
        # Python truncates, and refuses what no integer of the type equals; NumPy's cast would invent a number.
        low, high = float(np.iinfo(field.dtype).min), float(np.iinfo(field.dtype).max)
        whole = np.trunc(stored.astype(np.float64))
        bad = np.flatnonzero(~((whole >= low) & ((whole < high) | (whole == high) & (high < 2**53))))
        if len(bad):
            found = [str(stored[row]) for row in bad]
            stored = stored.copy()
            stored[bad] = 0
            for row, value in zip(bad, found, strict=True):
                on_bad(int(row), f"{value} is not in the range of {dtype_name(field.numpy_dtype)}")
    return _cast(stored, field.dtype), valid


def _cast(stored: Array, dtype: np.dtype[np.generic]) -> Array:
    out = empty_aligned(stored.shape, dtype)
    with np.errstate(over="ignore"):  # float64 that is too big for float32 becomes infinite, as in petastorm
        np.copyto(out, stored, casting="unsafe")
    return out


def _decode_time(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> tuple[Array, Array | None]:
    kind = array.type
    if pa.types.is_timestamp(kind):
        stored_unit = kind.unit
    elif pa.types.is_date32(kind):
        stored_unit = "D"
    elif pa.types.is_date64(kind):
        stored_unit = "ms"
    else:
        raise _unfit(field, kind)
    valid = validity(array)
    physical = physical_dtype(kind)
    assert physical is not None
    ticks = zero_invalid(aligned(array, physical), valid)
    unit = unit_of(field.dtype)
    if unit != stored_unit or ticks.dtype != np.int64:
        ticks = _rescale(ticks, stored_unit, unit, on_bad)
    return ticks.view(field.dtype), valid


def _rescale(ticks: Array, stored_unit: str, unit: str, on_bad: OnBad) -> Array:
    out = empty_aligned(ticks.shape, np.int64)
    if _TICKS[unit] <= _TICKS[stored_unit]:
        np.floor_divide(ticks, _TICKS[stored_unit] // _TICKS[unit], out=out, dtype=np.int64, casting="unsafe")
        return out
    factor = _TICKS[unit] // _TICKS[stored_unit]
    bound = np.iinfo(np.int64).max // factor
    out[...] = ticks
    for row in np.flatnonzero((out > bound) | (out < -bound)):
        out[row] = 0
        on_bad(int(row), f"{ticks[row]} {stored_unit} since 1970 is out of the range of datetime64[{unit}]")
    out *= factor
    return out


def _unfit(field: UnischemaField, kind: pa.DataType) -> SchemaMismatchError:
    return SchemaMismatchError(
        describe(
            "The stored type can't become the field's",
            Place(field=field.name),
            expected=f"something that holds {dtype_name(field.numpy_dtype)}",
            found=str(kind),
        )
    )
