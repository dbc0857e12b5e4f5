"""Laws: what is encoded decodes to itself, also through a Parquet file, sliced, chunked or in another byte order."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schema.strategies import columns, fields
from tfpetastorm.schema.codecs import CompressedImageCodec, arrow_type, decode_column, encode_column
from tfpetastorm.schema.columns import ALIGNMENT, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema


def refuse(row: int, reason: str) -> None:
    raise AssertionError(f"row {row}: {reason}")


def plain(value: Any) -> Any:
    """A cell as nested lists, for comparison."""
    if isinstance(value, np.ndarray):
        return (value.shape, [plain(item) for item in value.reshape(-1).tolist()])
    if isinstance(value, np.generic):
        return value.item()
    return value


def assert_same(field: UnischemaField, found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if other is None:
            continue
        if isinstance(field.codec, CompressedImageCodec) and field.codec.image_codec == "jpeg":
            assert one.shape == other.shape
            continue
        if field.kind == "date" and field.shape:
            other = other.astype("datetime64[D]")
        if isinstance(other, np.ndarray) and not field.shape:
            other = other[()]
        if field.ragged_rank > 1 and other.size == 0:
            assert one.size == 0  # lists of no lists have no lengths to keep
            continue
        assert plain(one) == plain(other)


def assert_sound(field: UnischemaField, column: Column) -> None:
    """What every column promises, whatever its codec."""
    assert column.inner == field.inner_shape
    assert len(column.splits) == field.ragged_rank
    count = column.rows
    for axis, splits in enumerate(column.splits):
        assert splits.dtype == np.int64
        assert len(splits) == count + 1
        assert splits[0] == 0
        lengths = np.diff(splits)
        assert (lengths >= 0).all()
        if field.shape[axis] is not None:
            assert (lengths == field.shape[axis]).all()
        count = int(splits[-1])
    if isinstance(column.values, Text):
        assert len(column.values) == count * int(np.prod(field.inner_shape, dtype=int))
    else:
        assert column.values.shape == (count, *field.inner_shape)
        assert column.values.dtype == field.dtype
        assert column.values.flags.c_contiguous
        assert column.values.size == 0 or column.values.ctypes.data % ALIGNMENT == 0
    if column.valid is not None:
        assert column.valid.dtype == np.bool_
        assert column.valid.shape == (column.rows,)
        assert field.nullable
        if not isinstance(column.values, Text) and not column.splits:
            absent = column.values[~column.valid]
            assert (absent == np.zeros((), field.dtype)).all()


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_cells_survive_encoding_and_a_file(data):
    field = data.draw(fields())
    values = data.draw(columns(field))
    array = encode_column(field, values)
    assert array.type == arrow_type(field)
    column = decode_column(field, array, refuse)
    assert_sound(field, column)
    assert_same(field, cells_of(field, column), values)

    file = io.BytesIO()
    schema = Unischema("S", [field]).as_arrow_schema()
    pq.write_table(pa.table([array], schema=schema), file, row_group_size=2)
    stored = pq.read_table(file)[field.name]
    column = decode_column(field, stored, refuse)
    assert_sound(field, column)
    assert_same(field, cells_of(field, column), values)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_slice_decodes_to_the_slice(data):
    field = data.draw(fields())
    values = data.draw(columns(field))
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    column = decode_column(field, encode_column(field, values).slice(start, stop - start), refuse)
    assert_sound(field, column)
    assert_same(field, cells_of(field, column), values[start:stop])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_whole_array_encodes_as_its_cells(data):
    field = data.draw(fields().filter(lambda field: field.ragged_rank == 0 and not field.is_text))
    values = data.draw(columns(UnischemaField(field.name, field.numpy_dtype, field.shape, field.codec)))
    batch = np.array(values, field.dtype).reshape(len(values), *field.shape)
    assert encode_column(field, batch).equals(encode_column(field, values))
    arrow = encode_column(field, encode_column(field, values))
    assert arrow.equals(encode_column(field, values))


@given(st.lists(fields(), max_size=6, unique_by=lambda field: field.name), st.text(min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_json_keeps_everything(chosen, name):
    schema = Unischema(name, chosen)
    again = Unischema.from_json(schema.to_json())
    assert again == schema
    assert hash(again) == hash(schema)
    assert list(again.fields) == [field.name for field in chosen]
    assert again.as_arrow_schema() == schema.as_arrow_schema()


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-9, max_value=9), max_size=5))
def test_decimals_keep_their_scale_and_digits(values):
    from tfpetastorm.schema.codecs import ScalarCodec

    field = UnischemaField("price", Decimal, (), ScalarCodec("decimal128(10, 9)"))
    cells = cells_of(field, decode_column(field, encode_column(field, values), refuse))
    assert [str(cell) for cell in cells] == [str(value.quantize(Decimal("1e-9"))) for value in values]
