"""Given values as a field stores them: those it can hold exactly, so that comparing is a matter of equality."""

from __future__ import annotations

import datetime as dt
import numbers
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.field import UnischemaField


def exact_items(field: UnischemaField, values: Iterable[Any]) -> list[Any]:
    """Of `values`, those that an item of `field` can equal, in its type: int, float or bool; str; bytes; Decimal;
    np.datetime64 of its unit. None, NaN and NaT equal nothing."""
    items = []
    for value in values:
        plain = value.item() if isinstance(value, (np.number, np.bool_)) else value
        item = _exact(field, plain)
        if item is not None:
            items.append(item)
    return items


def exact_array(field: UnischemaField, values: Iterable[Any]) -> Array:
    """`exact_items` of a field of numbers, dates or times as an array of its dtype."""
    return np.array(exact_items(field, values), field.dtype)


def _exact(field: UnischemaField, value: Any) -> Any:
    if field.kind == "text":
        return str(value) if isinstance(value, str) else None
    if field.kind == "bytes":
        return bytes(value) if isinstance(value, bytes) else None
    if field.kind in ("datetime", "date"):
        return _instant(field, value)
    if not isinstance(value, (numbers.Real, Decimal)):
        return None
    return _number(field, value)


def _number(field: UnischemaField, value: Any) -> Any:
    try:
        if field.kind == "decimal":
            exact = Decimal(value)
            return exact if exact.is_finite() else None
        if field.dtype.kind == "f":
            with np.errstate(over="ignore"):
                number = float(field.dtype.type(value))
            return number if number == value else None
        whole = int(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if whole != value:
        return None
    if field.dtype.kind == "b":
        return bool(whole) if whole in (0, 1) else None
    info = np.iinfo(field.dtype)
    return whole if info.min <= whole <= info.max else None


def _instant(field: UnischemaField, value: Any) -> Any:
    if hasattr(value, "to_datetime64"):
        value = value.to_datetime64()  # pandas keeps nanoseconds, which datetime has not
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    if not isinstance(value, (np.datetime64, dt.date)):
        return None
    given = np.datetime64(value)
    exact = given.astype(field.dtype)
    return exact if exact.astype(given.dtype) == given else None
