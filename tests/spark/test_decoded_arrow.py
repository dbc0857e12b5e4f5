"""Decoded columns as Spark gets them: value by value what the cells are. Starts no Java."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schema.strategies import columns, fields
from tfpetastorm.codecs import NdarrayCodec, ScalarCodec
from tfpetastorm.errors import EncodeError, Place, SchemaError
from tfpetastorm.schema.codecs import decode_column, encode_column
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.spark.decoded_arrow import decoded_type, spark_type_of, to_arrow


def fail(row: int, reason: str) -> None:
    raise AssertionError((row, reason))


def decoded(field: UnischemaField, cells: list[Any]) -> Column:
    return decode_column(field, encode_column(field, cells), fail)


def plain(value: Any) -> Any:
    """A cell as Python's own values in lists, instants in microseconds."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "M":
        value = value.astype("datetime64[us]") if value.dtype != "datetime64[D]" else value
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item() if value.dtype != "datetime64[D]" else value.item()
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return [plain(part) for part in value] if isinstance(value, list) else value


@given(st.data())
def test_arrow_holds_what_the_cells_are(data: st.DataObject) -> None:
    field = data.draw(fields("x"))
    column = decoded(field, data.draw(columns(field)))
    made = to_arrow(field, column)
    made.validate(full=True)
    assert made.type == decoded_type(field)
    expected = [plain(cell) for cell in cells_of(field, column)]
    if isinstance(field.codec, ScalarCodec) and str(field.codec.storage) == "string" and field.kind == "decimal":
        assert [None if text is None else Decimal(text) for text in made.to_pylist()] == expected
    else:
        assert made.to_pylist() == expected
    assert field.nullable or made.null_count == 0


@pytest.mark.parametrize(
    ("dtype", "codec", "expected"),
    [
        ("int8", None, "tinyint"), ("int16", None, "smallint"), ("int32", None, "int"), ("int64", None, "bigint"),
        ("uint8", None, "smallint"), ("uint16", None, "int"), ("uint32", None, "bigint"),
        ("uint64", None, "decimal(20,0)"), ("float16", None, "float"), ("float32", None, "float"),
        ("float64", None, "double"), ("bool", None, "boolean"), (np.str_, None, "string"), (np.bytes_, None, "binary"),
        (Decimal, None, "decimal(38,18)"), (Decimal, ScalarCodec("decimal128(10, 2)"), "decimal(10,2)"),
        (Decimal, ScalarCodec("string"), "string"), (dt.date, None, "date"),
        ("datetime64[ns]", None, "timestamp_ntz"),
        ("datetime64[us]", ScalarCodec(pa.timestamp("us", "Europe/Berlin")), "timestamp"),
    ],
)  # fmt: skip
def test_types(dtype: Any, codec: Any, expected: str) -> None:
    assert spark_type_of(decoded_type(UnischemaField("x", dtype, (), codec))).simpleString() == expected
    if codec is None:
        nested = spark_type_of(decoded_type(UnischemaField("x", dtype, (2, None))))
        assert nested.simpleString() == f"array<array<{expected}>>"
        assert nested.containsNull == (expected in ("date", "timestamp_ntz"))


def test_the_ends_of_every_range() -> None:
    for dtype in ("uint8", "uint16", "uint32", "uint64", "int8", "int64"):
        info = np.iinfo(dtype)
        field = UnischemaField("x", dtype, (2,), NdarrayCodec())
        values = np.array([[info.min, info.max]], dtype)
        assert to_arrow(field, decoded(field, list(values))).to_pylist() == [[info.min, info.max]]


def test_no_time_is_a_null() -> None:
    field = UnischemaField("x", "datetime64[us]", (2,), NdarrayCodec())
    column = decoded(field, [np.array(["NaT", "2020-01-02T03:04:05.000006"], "datetime64[us]")])
    assert to_arrow(field, column).to_pylist() == [[None, dt.datetime(2020, 1, 2, 3, 4, 5, 6)]]


@pytest.mark.parametrize(
    ("shape", "cell"), [((), 1), ((2,), [0, 1]), ((None,), [0, 0, 1]), ((None, 2), [[0, 0], [1, 0]])]
)
def test_nanoseconds_are_refused_by_row(shape: tuple[int | None, ...], cell: Any) -> None:
    field = UnischemaField("x", "datetime64[ns]", shape, NdarrayCodec() if shape else None)
    good, bad = (np.array(cell, np.int64) * 0).astype("datetime64[ns]"), np.array(cell).astype("datetime64[ns]")
    column = decoded(field, [good[()], bad[()]])
    with pytest.raises(EncodeError, match=r"row group 3, row 8.*whole microseconds.*000000001.*Leave") as caught:
        to_arrow(field, column, Place("f", 3, 7))
    assert "field 'x', file f" in str(caught.value)


def test_instants_beyond_microseconds_are_refused() -> None:
    field = UnischemaField("x", "datetime64[s]", ())
    with pytest.raises(EncodeError, match=r"row 0.*whole microseconds"):
        to_arrow(field, decoded(field, [np.datetime64(2**62, "s")]))


def test_decimals_that_spark_has_not_are_refused() -> None:
    wide = UnischemaField("x", Decimal, (), ScalarCodec("decimal256(50, 2)"))
    with pytest.raises(SchemaError, match=r"'x'.*at most 38 digits"):
        decoded_type(wide)
    narrow = UnischemaField("x", Decimal, (), ScalarCodec("decimal128(4, 2)"))
    column = decode_column(narrow, pa.array([Decimal("123.45")]), fail)
    with pytest.raises(EncodeError, match=r"'x'.*decimal128\(4, 2\)"):
        to_arrow(narrow, column)
