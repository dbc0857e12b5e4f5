"""Columns of a DataFrame on their way into codecs: what becomes which cell, and what is refused. Starts no Java."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.schema.strategies import columns, fields
from tfpetastorm.codecs import CompressedImageCodec, NdarrayCodec, ScalarCodec
from tfpetastorm.errors import EncodeError, SchemaError
from tfpetastorm.schema.codecs import Codec, decode_column, encode_column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.spark.decoded_arrow import to_arrow
from tfpetastorm.spark.frame_cells import encode_given, encode_stored
from tfpetastorm.spark.stored_types import stored_kind, to_stored

NPY = NdarrayCodec()


def fail(row: int, reason: str) -> None:
    raise AssertionError((row, reason))


def values_of(field: UnischemaField, stored: pa.Array) -> list[Any]:
    return cells_of(field, decode_column(field, stored, fail))


@given(st.data())
def test_values_of_a_frame_are_stored_as_a_writer_stores_them(data: st.DataObject) -> None:
    field = data.draw(fields("x"))
    column = decode_column(field, encode_column(field, data.draw(columns(field))), fail)
    try:
        frame = to_arrow(field, column)
    except (EncodeError, SchemaError):
        assume(False)
    assert encode_given(field, frame).equals(encode_column(field, cells_of(field, column)))


@given(st.data())
def test_what_spark_stores_reads_as_what_was_encoded(data: st.DataObject) -> None:
    field = data.draw(fields("x"))
    encoded = encode_column(field, data.draw(columns(field)))
    try:
        stored = to_stored(field, encoded)
    except (EncodeError, SchemaError):
        assume(False)
    stored.validate(full=True)
    assert stored.type == stored_kind(field)
    np.testing.assert_equal(values_of(field, stored), values_of(field, encoded))


I4, I16 = pa.list_(pa.int32()), pa.list_(pa.list_(pa.int16()))
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        # nested lists, flat ones, and buffers
        (UnischemaField("x", np.uint8, (2, 2, 3), NPY), pa.array(PIXELS[None].tolist()), [PIXELS]),
        (UnischemaField("x", np.uint8, (2, 2, 3), NPY), pa.array([PIXELS.reshape(-1).tolist()]), [PIXELS]),
        (UnischemaField("x", np.uint8, (2, 2, 3), NPY), pa.array([PIXELS.tobytes()]), [PIXELS]),
        (UnischemaField("x", np.uint8, (2, 2, 3), CompressedImageCodec()), pa.array([PIXELS.tobytes()]), [PIXELS]),
        (UnischemaField("x", np.uint8, (2, None, 3), NPY), pa.array([PIXELS.tobytes()]), [PIXELS]),
        (
            UnischemaField("x", np.uint8, (None, None, 3), NPY, True),
            pa.array([PIXELS.tolist(), None]), [PIXELS, None],
        ),
        (
            UnischemaField("x", np.uint8, (2, 6), NPY, True),
            pa.array([None, PIXELS.tobytes()]), [None, PIXELS.reshape(2, 6)],
        ),
        (UnischemaField("x", np.bool_, (3,), NPY), pa.array([b"\0\1\2"]), [np.array([False, True, True])]),
        (UnischemaField("x", np.float16, (2,), NPY), pa.array([[0.5, -2.0]]), [np.array([0.5, -2], np.float16)]),
        (UnischemaField("x", np.str_, (1, 2), NPY), pa.array([["a", "ü"]]), [np.array([["a", "ü"]])]),
        (UnischemaField("x", np.int8, (None,)), pa.array([[-1], [5]], I4), [np.int8([-1]), np.int8([5])]),
        # scalars
        (UnischemaField("x", np.uint8), pa.array([0, 255], pa.int64()), [0, 255]),
        (UnischemaField("x", np.int32), pa.array([3.0]), [3]),
        (
            UnischemaField("x", np.float64), pa.array([-(2**63), 2**53, 2**62, -3]),
            [-(2.0**63), 2.0**53, 2.0**62, -3.0],
        ),
        (UnischemaField("x", np.float16), pa.array([127, -128], pa.int8()), np.float16([127, -128]).tolist()),
        (UnischemaField("x", np.float32, (), None, True), pa.array([0.1, None]), [np.float32(0.1), None]),
        (UnischemaField("x", np.uint64, (), None), pa.array([2**64 - 1], pa.decimal128(20, 0)), [2**64 - 1]),
        (
            UnischemaField("x", np.uint64, (1,), NPY),
            pa.array([[2**64 - 1]], pa.list_(pa.decimal128(20, 0))), [np.uint64([2**64 - 1])],
        ),
        (UnischemaField("x", Decimal, (), ScalarCodec("decimal128(4, 2)")), pa.array([7]), [Decimal("7.00")]),
        (UnischemaField("x", Decimal), pa.array(["1.5"]), [Decimal("1.5")]),
        (UnischemaField("x", np.int16, (), NPY), pa.array([5]), [np.int16(5)]),
        (UnischemaField("x", np.bytes_, (), ScalarCodec("binary")), pa.array([b"\xff"]), [b"\xff"]),
        (UnischemaField("x", "datetime64[s]"), pa.array([10**6], pa.timestamp("us", "UTC")), [np.datetime64(1, "s")]),
        (UnischemaField("x", dt.date), pa.array([dt.date(1500, 1, 1)]), [np.datetime64("1500-01-01")]),
    ],
)  # fmt: skip
def test_values_of_other_types(field: UnischemaField, given: pa.Array, expected: list[Any]) -> None:
    np.testing.assert_equal(values_of(field, encode_given(field, given)), expected)
    # Nor does it depend on where in a larger batch they lie.
    double = pa.concat_arrays([given, given])
    assert encode_given(field, double.slice(len(given))).equals(encode_given(field, given))


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        (UnischemaField("x", np.uint8), pa.array([1, 256]), "row 1.*expected a value of uint8, found 256"),
        (UnischemaField("x", np.uint8), pa.array([-1], pa.int8()), "row 0.*found -1"),
        (UnischemaField("x", np.int32), pa.array([1.0, 1.5]), r"row 1.*found 1\.5"),
        (UnischemaField("x", np.int64), pa.array([2.0**63]), "row 0.*int64"),
        (UnischemaField("x", np.float32, (2,), NPY), pa.array([[1.0, 1e300]]), "row 0.*found 1e"),
        (UnischemaField("x", np.float32), pa.array([2**24, 2**24 + 1]), "row 1.*value of float32, found 16777217"),
        (UnischemaField("x", np.float64), pa.array([2**53 + 1]), "row 0.*float64, found 9007199254740993"),
        (UnischemaField("x", np.float64), pa.array([2**63 - 1]), "row 0.*found 9223372036854775807"),
        (UnischemaField("x", np.float16, (2,), NPY), pa.array([[2048, 2049]]), "row 0.*float16, found 2049"),
        (UnischemaField("x", np.float16), pa.array([-100_000]), "row 0.*float16, found -100000"),
        (UnischemaField("x", np.float32), pa.array([1.0, None]), "row 1.*not nullable"),
        (UnischemaField("x", np.int32), pa.array(["1"]), "values for int32, found string.*Cast it"),
        (UnischemaField("x", np.uint64), pa.array([-1], pa.decimal128(20, 0)), "uint64"),
        (UnischemaField("x", np.bool_), pa.array([1]), "values for bool, found int64"),
        (UnischemaField("x", Decimal), pa.array([1.5]), "found double"),
        (UnischemaField("x", Decimal), pa.array(["1,5"]), "row 0.*not a decimal"),
        (UnischemaField("x", dt.date), pa.array([0], pa.timestamp("us")), "found timestamp"),
        (UnischemaField("x", "datetime64[s]"), pa.array([1], pa.timestamp("us")), "row 0.*1970-01-01T00:00:00.000001"),
        (UnischemaField("x", np.str_), pa.array([b"a", b"\xff"]), "row 1"),
        (UnischemaField("x", np.uint8, (2, 2), NPY), pa.array([[[1, 2], [3, 4]], [[1], [2]]], I16), "row 1.*shape"),
        (UnischemaField("x", np.uint8, (2, 2), NPY), pa.array([[[1, 2], [3, 300]]], I16), "row 0.*found 300"),
        (UnischemaField("x", np.uint8, (None, 2), NPY), pa.array([[], [[1, 2], [3, 300]]], I16), "row 1.*found 300"),
        (UnischemaField("x", np.uint8, (2, 2), NPY), pa.array([[[1, 2], None]], I16), "row 0.*null"),
        (UnischemaField("x", np.float64, (2,), NPY), pa.array([[1.0, 2.0], [1.0, None]]), "row 1.*a null inside"),
        (UnischemaField("x", np.uint8, (2, 2), NPY), pa.array([[1, 2, 3, 4], [1, 2]], I4), "row 1.*found 2 items"),
        (UnischemaField("x", np.uint8, (None, 2), NPY), pa.array([[1, 2, 3]], I4), "row 0.*found 3 items"),
        (UnischemaField("x", np.uint8, (None, None), NPY), pa.array([[1, 2]], I4), "nested lists"),
        (UnischemaField("x", np.int32, (1,), NPY), pa.array([b"1234", b"123"]), "row 1.*3 bytes"),
        (UnischemaField("x", np.str_, (1,), NPY), pa.array([b"1234"]), "found binary"),
        (UnischemaField("x", np.uint8, (2,), NPY), pa.array([1]), "lists nested|found int64"),
    ],
)  # fmt: skip
def test_what_has_no_such_value_is_refused(field: UnischemaField, given: pa.Array, message: str) -> None:
    with pytest.raises((EncodeError, SchemaError), match=f"(?s)field 'x'.*{message}|{message}.*field 'x'") as caught:
        encode_given(field, given)
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize("codec", [NPY, CompressedImageCodec("png")])
def test_encoded_cells_are_taken_as_they_are(codec: Codec) -> None:
    field = UnischemaField("x", np.uint8, (2, 2, 3), codec, True)
    cells = encode_column(field, [PIXELS, None])
    assert encode_stored(field, cells).equals(cells)
    with pytest.raises(EncodeError, match=r"field 'x', row 1"):
        encode_stored(field, pa.array([cells[0].as_py(), b"no such cell"]))
    with pytest.raises(EncodeError, match=r"'x'.*binary"):
        encode_stored(field, pa.array(["text"]))


@pytest.mark.parametrize(
    ("field", "encoded", "message"),
    [
        (UnischemaField("x", np.bytes_), [b"a", b"\xff"], "row 1.*expected UTF-8.*ScalarCodec"),
        (UnischemaField("x", "datetime64[ns]"), np.array([0, 1], "M8[ns]"), "row 1.*timestamp"),
        (UnischemaField("x", "datetime64[s]"), np.array([2**62], "M8[s]"), "row 0.*timestamp"),
    ],
)  # fmt: skip
def test_what_spark_can_t_store_is_refused(field: UnischemaField, encoded: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=f"'x', {message}"):
        to_stored(field, encode_column(field, encoded))
