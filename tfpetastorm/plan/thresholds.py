"""`delta_threshold`: the longest gap between neighbours in a window, in the unit of the timestamp field."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, Place, describe
from tfpetastorm.schema.dtypes import unit_of
from tfpetastorm.schema.field import UnischemaField

#: Attoseconds, NumPy's smallest unit, in each unit of fixed length: with whole numbers of these nothing is rounded.
_ATTOSECONDS = {
    "W": 604_800 * 10**18, "D": 86_400 * 10**18, "h": 3_600 * 10**18, "m": 60 * 10**18, "s": 10**18,
    "ms": 10**15, "us": 10**12, "ns": 10**9, "ps": 10**6, "fs": 10**3, "as": 1,
}  # fmt: skip


def check_threshold(threshold: Any) -> None:
    """Raises OptionError unless `threshold` is None, a finite number or a duration, and at least 0."""
    if threshold is None:
        return
    if isinstance(threshold, (dt.timedelta, np.timedelta64)):
        number: Any = _attoseconds(threshold)
    elif isinstance(threshold, (int, float, Decimal, np.integer, np.floating)) and not isinstance(threshold, bool):
        number = threshold
        if not isinstance(threshold, (int, np.integer)) and not math.isfinite(threshold):
            raise OptionError(
                describe("delta_threshold is not finite", found=repr(threshold), expected="a number, or None for none")
            )
    else:
        raise OptionError(
            describe(
                "Not a delta_threshold",
                expected="a number, or a timedelta for fields that hold times or dates",
                found=repr(threshold),
            )
        )
    if number < 0:
        raise OptionError(describe("delta_threshold is negative", expected="at least 0", found=repr(threshold)))


def threshold_of(threshold: Any, field: UnischemaField) -> int | float | None:
    """`threshold` in the unit of `field`: a gap between two of its values is short enough if it is at most this.

    An int for fields of whole numbers, datetimes and dates (in their unit, rounded down: gaps are whole there, so the
    meaning stays exact), a float for fields of floats. Raises OptionError for a number where the field holds times,
    or a duration where it holds numbers.
    """
    if threshold is None:
        return None
    timed = field.kind in ("datetime", "date")
    if isinstance(threshold, (dt.timedelta, np.timedelta64)):
        if not timed:
            raise OptionError(
                describe(
                    "delta_threshold does not fit timestamp_field",
                    Place(field=field.name),
                    expected=f"a number, as the field holds {field.dtype}",
                    found=repr(threshold),
                )
            )
        return _attoseconds(threshold) // _ATTOSECONDS[unit_of(field.dtype)]
    if timed:
        raise OptionError(
            describe(
                "delta_threshold does not fit timestamp_field",
                Place(field=field.name),
                expected=f"a datetime.timedelta or numpy.timedelta64, as the field holds {field.dtype}",
                found=repr(threshold),
                remedy="A bare number has no unit.",
            )
        )
    if field.dtype.kind == "f":
        try:
            return float(threshold)
        except OverflowError:
            raise OptionError(f"delta_threshold={threshold!r} is beyond the range of floats.") from None
    return int(threshold) if isinstance(threshold, (int, np.integer)) else math.floor(threshold)


def _attoseconds(duration: dt.timedelta | np.timedelta64) -> int:
    if isinstance(duration, dt.timedelta):
        seconds = duration.days * 86_400 + duration.seconds
        return seconds * _ATTOSECONDS["s"] + duration.microseconds * _ATTOSECONDS["us"]
    unit, count = np.datetime_data(duration.dtype)
    if np.isnat(duration) or unit not in _ATTOSECONDS:
        raise OptionError(
            describe(
                "delta_threshold has no fixed length",
                expected=f"a unit of {', '.join(_ATTOSECONDS)}",
                found=repr(duration),
                remedy="Months and years differ in length: give days.",
            )
        )
    return int(duration.astype(np.int64)) * count * _ATTOSECONDS[unit]
