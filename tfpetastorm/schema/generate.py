"""Random and empty rows of a schema, for trials and tests of programs that read one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.schema.codecs import ScalarCodec, arrow_type
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

#: The size of a dimension that a shape leaves open.
OPEN_SIZE = 13
#: The same for the zeros of `schema_data_generator_example`.
_ZEROS_SIZE = 10
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def generate_datapoint(schema: Unischema, seed: int | np.random.Generator | None = None) -> dict[str, Any]:
    """A random row: for each field an array of its dtype and shape, an array of shape () for a scalar.

    Open dimensions have 13 items. Integers span the range that the field and its storage have, floats lie between 0 and
    1, dates and times between 1970 and 2070, text and bytes are 8 lower-case letters; a Decimal is a `Decimal`, between
    0 and 1, and arrays of them are of objects. No field is null. `DatasetWriter` and `dict_to_spark_row` take such
    rows.

    seed: of the row, or the generator to draw from; None for another row each time.
    """
    random = np.random.default_rng(seed)
    return {field.name: _random(field, random) for field in schema}


def _random(field: UnischemaField, random: np.random.Generator) -> Any:
    shape = tuple(OPEN_SIZE if size is None else size for size in field.shape)
    kind = field.kind
    if kind == "decimal":
        return _decimals(field, shape, random)
    if kind in ("text", "bytes"):
        letters = np.array(list(_LETTERS))[random.integers(0, len(_LETTERS), (*shape, 8))]
        return np.ascontiguousarray(letters).view("U8")[..., 0].astype("U8" if kind == "text" else "S8")
    if kind in ("datetime", "date"):
        seconds = random.integers(0, 100 * 365 * 86_400, shape)
        return np.asarray(seconds).astype("datetime64[s]").astype(field.dtype)
    if field.dtype.kind == "b":
        return np.asarray(random.integers(0, 2, shape).astype(bool))
    if field.dtype.kind == "f":
        return np.asarray(random.random(shape)).astype(field.dtype)
    least, most = _range(field)
    return np.asarray(random.integers(least, most, shape, field.dtype, endpoint=True))


def _range(field: UnischemaField) -> tuple[int, int]:
    """The whole numbers that both the field and what it is stored as hold."""
    info = np.iinfo(field.dtype)
    if not isinstance(field.codec, ScalarCodec) or not pa.types.is_integer(arrow_type(field)):
        return int(info.min), int(info.max)
    stored = np.iinfo(arrow_type(field).to_pandas_dtype())
    return max(int(info.min), int(stored.min)), min(int(info.max), int(stored.max))


def _decimals(field: UnischemaField, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    stored: Any = pa.null() if field.codec is None else arrow_type(field)
    scale, precision = (stored.scale, stored.precision) if pa.types.is_decimal(stored) else (6, 6)
    places = max(0, min(6, scale))
    numbers = random.integers(0, 10 ** min(places, precision), shape)
    items = [Decimal(number).scaleb(-places) for number in np.ravel(numbers).tolist()]
    if not shape:
        return items[0]
    made = np.empty(len(items), object)
    made[:] = items
    return made.reshape(shape)


def zeros(schema: Unischema) -> dict[str, Any]:
    """A row of zeros and empty texts: arrays of each field's dtype and shape, open dimensions of 10."""
    return {field.name: _zeros(field) for field in schema}


def _zeros(field: UnischemaField) -> Any:
    shape = tuple(_ZEROS_SIZE if size is None else size for size in field.shape)
    if field.kind == "decimal":
        return np.full(shape, Decimal("0.0"), object) if shape else Decimal("0.0")
    kinds = {"text": "U1", "bytes": "S1"}
    return np.zeros(shape, kinds.get(field.kind, field.dtype))
