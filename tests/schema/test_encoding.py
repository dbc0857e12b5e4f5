"""What a writer is handed is checked; an error names field, row, expected and found."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.errors import EncodeError
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
    encode_column,
)
from tfpetastorm.schema.field import UnischemaField as Field

GOOD = {
    "int8": 1, "uint8": 1, "int64": 1, "uint64": 1, "float32": 1.5, "bool": True, "str": "a", "bytes": b"a",
}  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "bad", "expected", "found"),
    [
        ("int8", 128, "range of int8", "int 128"),
        ("int8", np.int16(-129), "range of int8", "-129"),
        ("int8", 1.0, "int8", "float 1.0"),
        ("int8", True, "int8", "bool True"),
        ("int8", "1", "int8", "str '1'"),
        ("uint8", -1, "range of uint8", "int -1"),
        ("uint64", -1, "range of uint64", "int -1"),
        ("uint64", 1 << 64, "range of uint64", "int 18446744073709551616"),
        ("int64", 1 << 63, "range of int64", "int 9223372036854775808"),
        ("float32", 1e39, "range of float32", "float 1e\\+39"),
        ("float32", "x", "float32", "str 'x'"),
        ("float32", True, "float32", "bool True"),
        ("bool", 1, "bool", "int 1"),
        ("str", b"a", "str", "bytes b'a'"),
        ("str", 1, "str", "int 1"),
        ("str", "\ud800", "str", "surrogates"),
        ("bytes", "a", "bytes", "str 'a'"),
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_a_wrong_scalar_names_its_row(dtype, bad, expected, found, nullable):
    field = Field("x", dtype, (), None, nullable)
    with pytest.raises(EncodeError, match=rf"field 'x', row 2\): expected .*{expected}.*, found .*{found}"):
        encode_column(field, [GOOD[dtype], None if nullable else GOOD[dtype], bad, bad])


@pytest.mark.parametrize(
    ("field", "values", "row"),
    [
        (Field("x", np.int8), [1, None], 1),
        (Field("x", np.str_), [None], 0),
        (Field("x", np.int8, (None,)), [[1], None], 1),
        (Field("x", np.int8, (2,), NdarrayCodec()), [None], 0),
        (Field("x", np.int8, (2,), TensorCodec()), [[1, 2], None], 1),
        (Field("x", np.uint8, (2, 2), CompressedImageCodec()), [None], 0),
        (Field("x", "datetime64[us]"), np.array(["2020-01-01", "NaT"], "M8[us]"), 1),
        (Field("x", "datetime64[us]"), [np.datetime64("NaT")], 0),
        (Field("x", np.int8), pa.array([1, None], pa.int8()), 1),
    ],
)
def test_a_null_in_a_field_without_nulls_names_its_row(field, values, row):
    with pytest.raises(EncodeError, match=rf"A value is missing \(field 'x', row {row}\).*nullable=True"):
        encode_column(field, values)


@pytest.mark.parametrize(
    ("given", "dtype", "row"),
    [
        (np.array([1, 300, 2]), "uint8", 1),
        (np.array([0, -1]), "uint64", 1),
        (np.array([1, 1 << 63], np.uint64), "int64", 1),
        (np.array([0, 1e39]), "float32", 1),
        (np.array([[0, 1], [2, 300]]), "uint8", 1),
        (np.array(["2020-01-01T00:00:00.5"], "M8[ms]"), "datetime64[s]", 0),
        (np.array(["2020-01-01T00", "2020-01-02T01"], "M8[h]"), dt.date, 1),
        (np.array([1 << 40], "M8[s]"), "datetime64[ns]", 0),
    ],
)
def test_an_array_is_checked_as_a_whole(given, dtype, row):
    field = Field("x", dtype, (2,) if given.ndim == 2 else ())
    with pytest.raises(EncodeError, match=rf"field 'x', row {row}\)"):
        encode_column(field, given)


@pytest.mark.parametrize(
    ("given", "dtype", "shape"),
    [
        (np.array([1.0]), "int32", ()),
        (np.array([True]), "int32", ()),
        (np.array([1]), "bool", ()),
        (np.array(["a"]), "int32", ()),
        (np.array([1]), "str", ()),
        (np.zeros((2, 2)), "float64", ()),
        (np.zeros((2, 2)), "float64", (3,)),
        (np.zeros(2), "float64", (3,)),
    ],
)
def test_an_array_of_another_dtype_or_shape_is_refused(given, dtype, shape):
    with pytest.raises(EncodeError, match="field 'x'"):
        encode_column(Field("x", dtype, shape), given)


@pytest.mark.parametrize("codec", [NdarrayCodec(), CompressedNdarrayCodec(), None])
@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.zeros((3, 2), np.float32), "shape"),
        (np.zeros(6, np.float32), "shape"),
        ([[1, 2, 3], [4, 5]], ""),
        ([["a", "b", "c"]] * 2, ""),
        (7, ""),
        (np.zeros((2, 3), bool), "bool"),
    ],
)
def test_a_wrong_array_names_its_row(codec, bad, found):
    good = np.ones((2, 3), np.float32)
    field = Field("x", np.float32, (2, 3), codec)
    with pytest.raises(EncodeError, match=r"field 'x', row 1\)") as caught:
        encode_column(field, [good, bad])
    assert found in str(caught.value)


@pytest.mark.parametrize("codec", [NdarrayCodec(), CompressedNdarrayCodec(), TensorCodec()])
def test_an_array_must_have_the_dtype_of_its_field_but_a_list_has_none(codec):
    field = Field("x", np.float32, (3,), codec)
    with pytest.raises(EncodeError, match=r"expected float32 of shape \(3,\), found float64 of shape \(3,\)"):
        encode_column(field, [np.zeros(3)])
    array = encode_column(field, [[1, 2, 3.5]])
    assert len(array) == 1
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", np.int8, (1,), codec), [[300]])
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", np.int8, (1,), codec), [[1.5]])


def test_strings_that_npy_cannot_keep_are_refused():
    with pytest.raises(EncodeError, match="NUL"):
        encode_column(Field("x", np.str_, (None,), NdarrayCodec()), [["a", "b\0"]])
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", np.str_, (None,), NdarrayCodec()), [["a", b"b"]])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros((4, 5), np.uint8), r"shape \(4, 5\)"),
        (np.zeros((4, 5, 3), np.uint16), "uint16"),
        (np.zeros((4, 5, 3), np.int64), "int64"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 70_000, 3), np.uint8), "can hold"),
    ],
)
def test_a_wrong_image_names_its_row(image, expected):
    field = Field("x", np.uint8, (None, None, 3), CompressedImageCodec("jpeg"))
    with pytest.raises(EncodeError, match=rf"row 1\).*{expected}"):
        encode_column(field, [np.zeros((4, 5, 3), np.uint8), image])


@pytest.mark.parametrize(
    ("value", "storage"),
    [
        (Decimal("1.005"), "decimal128(10, 2)"),
        (Decimal("123456789"), "decimal128(10, 2)"),
        (Decimal("NaN"), "decimal128(10, 2)"),
        (Decimal("Infinity"), "string"),
        (1.5, "decimal128(10, 2)"),
        ("1.5", "decimal128(10, 2)"),
        (True, "decimal128(10, 2)"),
    ],
)
def test_a_decimal_that_would_be_rounded_is_refused(value, storage):
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", Decimal, (), ScalarCodec(storage)), [value])


def test_decimals_that_fit_are_kept():
    field = Field("x", Decimal, (), ScalarCodec("decimal128(5, 2)"))
    array = encode_column(field, [Decimal("1.5000"), Decimal("-999.99"), 7, Decimal("1E+2"), Decimal("0E+9")])
    assert [str(value) for value in array.to_pylist()] == ["1.50", "-999.99", "7.00", "100.00", "0.00"]


def test_instants_in_every_spelling():
    zone = dt.timezone(dt.timedelta(hours=2))
    values = [
        dt.datetime(2020, 1, 1, 12),
        dt.datetime(2020, 1, 1, 14, tzinfo=zone),
        np.datetime64("2020-01-01T12", "h"),
        np.datetime64("2020-01-01T12:00:00", "ns"),
    ]
    array = encode_column(Field("x", "datetime64[ms]"), values)
    assert array.to_pylist() == [dt.datetime(2020, 1, 1, 12)] * 4
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", "datetime64[ms]"), [dt.datetime(2020, 1, 1, microsecond=1)])
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(Field("x", "datetime64[ms]"), ["2020-01-01"])


def test_dates():
    field = Field("x", dt.date, (), None, True)
    values = [dt.date(1900, 1, 1), np.datetime64("2020-01-01"), None, np.datetime64("NaT")]
    assert encode_column(field, values).to_pylist() == [dt.date(1900, 1, 1), dt.date(2020, 1, 1), None, None]
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(field, [dt.datetime(2020, 1, 1)])
    with pytest.raises(EncodeError, match="row 0"):
        encode_column(field, [np.datetime64("2020-01-01T01")])


def test_a_value_that_its_storage_cannot_hold_is_refused():
    field = Field("x", np.uint8, (), ScalarCodec("int8"))
    assert encode_column(field, [127]).to_pylist() == [127]
    for values in ([1, 200], np.array([1, 200], np.uint8)):
        with pytest.raises(EncodeError, match=r"row 1\): expected a number that int8 holds, found 200"):
            encode_column(field, values)


def test_arrow_arrays_are_taken_as_they_are():
    field = Field("x", np.int32)
    array = pa.array([1, 2], pa.int32())
    assert encode_column(field, array) is array
    assert encode_column(field, pa.chunked_array([[1], [2]], pa.int64())).equals(array)
    with pytest.raises(EncodeError, match="expected int32, found int64"):
        encode_column(field, pa.array([1 << 40]))
    cells = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32()))
    stored = encode_column(Field("x", np.int32, (2,), NdarrayCodec()), cells)
    assert stored.type == pa.binary()


def test_any_sequence_of_cells_will_do():
    assert encode_column(Field("x", np.int32), range(3)).to_pylist() == [0, 1, 2]
    assert encode_column(Field("x", np.int32), (value for value in [1, 2])).to_pylist() == [1, 2]
    assert encode_column(Field("x", np.float16), [1, np.float64(0.5), np.int8(3)]).to_pylist() == [1, 0.5, 3]
    assert encode_column(Field("x", np.float64), [1, 2.5]).to_pylist() == [1, 2.5]
    assert encode_column(Field("x", np.int32), []).to_pylist() == []


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "float64", "datetime64[us]", "datetime64[D]"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (4, 5)])
def test_arrays_of_one_shape_are_stored_as_each_alone(dtype: str, shape: tuple[int, ...]) -> None:
    field = Field("x", dtype, tuple(size or None for size in shape), NdarrayCodec())
    numbers = np.arange(6 * math.prod(shape)).reshape(6, *shape) % 3
    array = numbers.astype(field.dtype)
    alone = [field.codec.encode(field, cell) for cell in array]
    assert encode_column(field, array).to_pylist() == alone
    assert encode_column(field, array[::-2]).to_pylist() == alone[::-2]
    # However each of them lies in memory.
    cells = [np.array(cell, order="F") for cell in array]
    assert encode_column(field, cells).to_pylist() == alone
    # And where one is of another kind.
    assert encode_column(field, [*cells, array[0][()]]).to_pylist() == [*alone, alone[0]]
