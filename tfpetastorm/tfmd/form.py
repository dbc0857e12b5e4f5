"""What the schema proto can say of a field's values: their type, their dimensions, and the domain of its dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tfpetastorm.schema.codecs import CompressedImageCodec
from tfpetastorm.schema.dtypes import unit_of
from tfpetastorm.schema.field import UnischemaField

Dims: TypeAlias = tuple[int | None, ...]
Bounds: TypeAlias = tuple[int | None, int | None]

#: The names in `TimeDomain.IntegerTimeFormat` of the units that instants and dates are counted in.
TIME_FORMATS = {
    "D": "UNIX_DAYS", "s": "UNIX_SECONDS", "ms": "UNIX_MILLISECONDS", "us": "UNIX_MICROSECONDS",
    "ns": "UNIX_NANOSECONDS",
}  # fmt: skip
_INTEGERS = (np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True)
class Form:
    """How TFX sees a field.

    type: the name of its FeatureType. dims: `()` for one value a row, None for a size that differs.
    bounds: the least and most that its dtype holds, where int64 does not say it; None where it says no such thing.
    domain: what else the proto can say; time_format: the name of an IntegerTimeFormat, with the domain "time".
    """

    type: Literal["BYTES", "INT", "FLOAT"]
    dims: Dims
    domain: Literal["int", "bool", "time", "float", "image"] | None = None
    bounds: Bounds | None = None
    time_format: str | None = None

    def __str__(self) -> str:
        return f"{self.type} of shape {self.dims}"


#: One cell as it is stored.
STORED_BYTES = Form("BYTES", ())


def form_of(field: UnischemaField) -> Form:
    """How TFX sees the values of `field`: decoded, but for images, which it knows in their encoding only.

    Numbers are INT or FLOAT, bool is INT with a bool_domain, times count their unit in INT as the graph has them,
    text is BYTES, Decimals are BYTES with a float_domain: the exact digits.
    """
    if isinstance(field.codec, CompressedImageCodec):
        return Form("BYTES", (), "image")
    if field.kind in ("text", "bytes"):
        # No string_domain: TFDV takes one without values for a vocabulary that allows none.
        return Form("BYTES", field.shape)
    if field.kind == "decimal":
        return Form("BYTES", field.shape, "float")
    if field.kind in ("datetime", "date"):
        return Form("INT", field.shape, "time", time_format=TIME_FORMATS[unit_of(field.dtype)])
    if field.dtype.kind == "f":
        return Form("FLOAT", field.shape)
    if field.dtype.kind == "b":
        return Form("INT", field.shape, "bool")
    bounds = _bounds(field.dtype)
    return Form("INT", field.shape, "int" if bounds else None, bounds)


def _bounds(dtype: np.dtype[Any]) -> Bounds | None:
    if dtype == np.int64:
        return None
    if dtype == np.uint64:
        return 0, None  # the proto's own limits are int64
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def integer_of(bounds: Bounds) -> Any:
    """The integer type that has exactly these bounds; int64 if none has."""
    exact = [kind for kind in _INTEGERS if _bounds(np.dtype(kind)) == bounds]
    return exact[0] if exact else np.int64
