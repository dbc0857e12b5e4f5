"""Cells as petastorm gives them: the types of NumPy, made by column."""

from __future__ import annotations

import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.schema.codecs import NdarrayCodec, decode_column, encode_column
from tfpetastorm.schema.columns import Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of


def cells(field: UnischemaField, values: list[object]) -> list[object]:
    return cells_of(field, decode_column(field, encode_column(field, values), pytest.fail))


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.int16, -3, np.int16(-3)),
        (np.float16, 0.5, np.float16(0.5)),
        (np.bool_, True, np.bool_(True)),
        (np.str_, "Ann", np.str_("Ann")),
        (np.bytes_, b"\xff\0a", np.bytes_(b"\xff\0a")),
        ("datetime64[us]", np.datetime64("2020-01-02T03", "us"), np.datetime64("2020-01-02T03", "us")),
        ("date", np.datetime64("2020-01-02"), np.datetime64("2020-01-02", "D")),
    ],
)
def test_scalars_are_of_numpys_types(dtype, value, expected):
    field = UnischemaField("x", dtype, (), None, True)
    found = cells(field, [value, None])
    assert found == [expected, None]
    assert type(found[0]) is type(expected)
    assert getattr(found[0], "dtype", None) == expected.dtype


def test_decimals_keep_their_digits():
    field = UnischemaField("x", Decimal, (), None, True)
    assert str(cells(field, [Decimal("1.50"), None])[0]) == "1.500000000000000000"
    assert cells(field, [None]) == [None]


@pytest.mark.parametrize("codec", [None, NdarrayCodec()])
def test_arrays_of_text_are_of_kind_u_and_s(codec):
    words = UnischemaField("x", np.str_, (None,), codec, True)
    found = cells(words, [np.array(["a", "bcd"]), None, np.array([], np.str_)])
    assert found[1] is None
    assert [cell.dtype for cell in (found[0], found[2])] == [np.dtype("<U3"), np.dtype("<U1")]
    assert found[0].tolist() == ["a", "bcd"]
    raw = UnischemaField("x", np.bytes_, (2,), codec)
    assert cells(raw, [np.array([b"a", b"bc"])])[0].dtype == np.dtype("S2")


def test_a_nul_at_the_end_is_not_lost():
    field = UnischemaField("x", np.bytes_)
    assert [bytes(cell) for cell in cells(field, [b"a\0", b"b"])] == [b"a\0", b"b"]
    field = UnischemaField("x", np.str_, (None,))
    assert [cell.tolist() for cell in cells(field, [["a\0", "b"], []])] == [["a\0", "b"], []]


def test_rectangular_lists_are_arrays_and_others_lists_of_arrays():
    field = UnischemaField("x", np.int32, (None, None))
    array = pa.array([[[1, 2], [3, 4]], [[1], [2, 3]], [], [[], []]], pa.list_(pa.list_(pa.int32())))
    found = cells_of(field, decode_column(field, array, pytest.fail))
    assert found[0].tolist() == [[1, 2], [3, 4]]
    assert [part.tolist() for part in found[1]] == [[1], [2, 3]]
    assert [found[2].shape, found[3].shape] == [(0, 0), (2, 0)]


def test_of_a_dictionary_one_object_is_made_an_entry():
    text = Text(np.array([0, 1, 3]), np.frombuffer(b"abc", np.uint8), np.array([1, 0, 1], np.int32))
    found = cells_of(UnischemaField("x", np.str_), Column(text))
    assert found == ["bc", "a", "bc"]
    assert found[0] is found[2]


def test_a_million_numbers_take_less_than_a_second():
    column = Column(np.arange(1_000_000), valid=np.arange(1_000_000) % 1000 > 0)
    field = UnischemaField("x", np.int64, (), None, True)
    start = time.perf_counter()
    found = cells_of(field, column)
    assert time.perf_counter() - start < 1
    assert found[:2] == [None, np.int64(1)]
