"""The element types a field can have: how they are spelled, and what they are in memory.

Six kinds: `number` (all NumPy integers and floats up to 64 bits, and bool), `text`, `bytes`, `decimal`, `datetime`
(datetime64 of s, ms, us or ns) and `date` (datetime64[D] in memory). Each has one canonical spelling, the one that
petastorm's users write (`np.int32`, `np.str_`, `Decimal`), and one name, which JSON uses.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from tfpetastorm.errors import SchemaError, describe

Kind: TypeAlias = Literal["number", "text", "bytes", "decimal", "datetime", "date"]

_NUMBERS: tuple[type[np.generic], ...] = (
    np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
    np.float16, np.float32, np.float64, np.bool_,
)  # fmt: skip
_DATETIME_UNITS = ("s", "ms", "us", "ns")
_ALIASES = {
    "str": np.str_, "str_": np.str_, "string": np.str_, "bytes": np.bytes_, "bytes_": np.bytes_, "binary": np.bytes_,
    "decimal": Decimal, "date": dt.date, "bool_": np.bool_,
}  # fmt: skip


def canonical_dtype(spelling: Any) -> Any:
    """The one spelling of an element type, from any of those users write.

    Returns a NumPy scalar class for numbers, `np.str_`, `np.bytes_`, `Decimal`, `dt.date`, or an `np.dtype` for
    `datetime64[unit]` (unit ns where none is given).

    Raises SchemaError if the type can't be stored in a field.
    """
    if spelling is Decimal or spelling is dt.date:
        return spelling
    if spelling is dt.datetime:
        return np.dtype("datetime64[us]")
    if isinstance(spelling, str) and spelling in _ALIASES:
        return _ALIASES[spelling]
    if spelling is None or spelling is object:
        raise _unusable(spelling)
    try:
        dtype = np.dtype(spelling)
    except (TypeError, ValueError):
        raise _unusable(spelling) from None
    if dtype.kind == "U":
        return np.str_
    if dtype.kind == "S":
        return np.bytes_
    if dtype.kind == "M":
        unit, count = np.datetime_data(dtype)
        if unit == "generic":
            return np.dtype("datetime64[ns]")
        if count == 1 and unit == "D":
            return dt.date
        if count == 1 and unit in _DATETIME_UNITS:
            return np.dtype(f"datetime64[{unit}]")
        raise _unusable(spelling)
    for number in _NUMBERS:
        if dtype.newbyteorder("=") == np.dtype(number):
            return number
    raise _unusable(spelling)


def _unusable(spelling: Any) -> SchemaError:
    return SchemaError(
        describe(
            "Not an element type of a field",
            expected="a NumPy integer, float or bool, str, bytes, Decimal, datetime64[s, ms, us or ns] or date",
            found=repr(spelling),
        )
    )


def kind_of(canonical: Any) -> Kind:
    """The kind of a canonical element type."""
    if canonical is np.str_:
        return "text"
    if canonical is np.bytes_:
        return "bytes"
    if canonical is Decimal:
        return "decimal"
    if canonical is dt.date:
        return "date"
    return "datetime" if isinstance(canonical, np.dtype) else "number"


def memory_dtype(canonical: Any) -> np.dtype[Any]:
    """The dtype of a canonical element type in memory: native byte order, datetime64[D] for dates, else object."""
    kind = kind_of(canonical)
    if kind == "date":
        return np.dtype("datetime64[D]")
    return np.dtype(object) if kind in ("text", "bytes", "decimal") else np.dtype(canonical)


def dtype_name(canonical: Any) -> str:
    """The name of a canonical element type, as JSON holds it; `canonical_dtype` reads it back."""
    named = {"text": "str", "bytes": "bytes", "decimal": "decimal", "date": "date"}
    kind = kind_of(canonical)
    return named[kind] if kind in named else np.dtype(canonical).name


_STORED_DESCR = re.compile(r"[<>|=]?(?:[biuf][1248]|[US]\d{1,9}|M8\[(?:s|ms|us|ns|D)\])")


@lru_cache(maxsize=256)
def stored_dtype(descr: str) -> np.dtype[Any] | None:
    """The dtype that an `.npy` header names by `descr`, or None if no field can hold it (objects, structures, …)."""
    return np.dtype(descr) if _STORED_DESCR.fullmatch(descr) else None


def unit_of(dtype: np.dtype[Any]) -> str:
    """The unit of a datetime64 dtype: "s", "ms", "us", "ns" or "D"."""
    return str(np.datetime_data(dtype)[0])
