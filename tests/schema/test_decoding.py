"""Every Arrow layout that a column may come in decodes to the same cells."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.errors import SchemaMismatchError
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
    decode_column,
    encode_column,
)
from tfpetastorm.schema.columns import ALIGNMENT
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.rows import cells_of


def cells(field, array):
    return cells_of(field, decode_column(field, array, pytest.fail))


@pytest.mark.parametrize(
    ("stored", "kind", "dtype", "expected"),
    [
        # What petastorm's casts do: uint8 under Spark's ByteType comes back from negative numbers.
        ([-1, 5], pa.int8(), np.uint8, [255, 5]),
        ([200, 5], pa.int16(), np.uint8, [200, 5]),
        ([-1], pa.int32(), np.uint32, [2**32 - 1]),
        ([70000], pa.int32(), np.uint16, [4464]),
        ([1, 0], pa.int32(), np.bool_, [True, False]),
        ([True, False], pa.bool_(), np.int8, [1, 0]),
        ([1.5], pa.float64(), np.float32, [1.5]),
        ([1e300], pa.float64(), np.float32, [np.inf]),
        ([3, -3], pa.int64(), np.float16, [3, -3]),
        ([3.7, -3.7], pa.float64(), np.int32, [3, -3]),
        ([Decimal("1.5")], pa.decimal128(3, 1), np.float64, [1.5]),
        ([2**64 - 1], pa.uint64(), np.uint64, [2**64 - 1]),
    ],
)
def test_numbers_of_another_type(stored, kind, dtype, expected):
    found = decode_column(Field("x", dtype), pa.array(stored, kind), pytest.fail).values
    assert found.dtype == dtype
    assert found.tolist() == expected


def test_a_number_that_no_integer_equals_is_reported():
    bad = {}
    column = decode_column(
        Field("x", np.int64), pa.array([1.0, float("nan"), 2.0**63, -(2.0**63), 1e300]), bad.__setitem__
    )
    assert list(bad) == [1, 2, 4]
    assert column.values.tolist() == [1, 0, 0, -(2**63), 0]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.binary(), pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string()),
        pa.dictionary(pa.uint16(), pa.binary()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.str_, np.bytes_])
@pytest.mark.parametrize("offset", [0, 2])
def test_text_of_every_layout(kind, dtype, offset):
    values = ["a", "", None, "größe", "a", None]
    item = kind.value_type if pa.types.is_dictionary(kind) else kind
    plain = pa.array([None if value is None else value.encode() for value in values]).cast(item)
    array = (plain.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else plain).slice(offset)
    expected = values if dtype is np.str_ else [None if value is None else value.encode() for value in values]
    field = Field("x", dtype, (), None, True)
    column = decode_column(field, array, pytest.fail)
    assert cells_of(field, column) == expected[offset:]
    assert (column.values.codes is not None) == pa.types.is_dictionary(kind)
    # A null cell is an empty string.
    index = column.values.codes if column.values.codes is not None else np.arange(len(array))
    lengths = np.diff(column.values.offsets)[index]
    assert lengths[~column.valid].tolist() == [0, 0]


def test_bytes_of_a_fixed_size():
    assert cells(Field("x", np.bytes_), pa.array([b"ab", b"cd"], pa.binary(2))) == [b"ab", b"cd"]


def test_text_under_a_null_is_hidden():
    # Arrow may leave anything under a null.
    hidden = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([0, 6, 7], np.int32)), pa.py_buffer(b"secreta")]
    )
    column = decode_column(Field("x", np.str_, (), None, True), hidden, pytest.fail)
    assert np.diff(column.values.offsets).tolist() == [0, 1]
    numbers = pa.Array.from_buffers(pa.int32(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([7, 8], np.int32))])
    assert decode_column(Field("x", np.int32, (), None, True), numbers, pytest.fail).values.tolist() == [0, 8]


def test_bytes_that_are_not_utf8_are_reported():
    for array in (pa.array([b"a", b"\xff", b"c"]), pa.array([b"a", b"\xff", b"c"]).dictionary_encode()):
        bad = {}
        field = Field("x", np.str_)
        column = decode_column(field, array, bad.__setitem__)
        assert bad == {1: "not UTF-8"}
        assert cells_of(field, column) == ["a", "", "c"]


def test_decimals_from_other_types():
    field = Field("x", Decimal)
    assert [str(cell) for cell in cells(field, pa.array([Decimal("1.280000000")], pa.decimal128(10, 9)))] == [
        "1.280000000"
    ]
    assert [str(cell) for cell in cells(field, pa.array([7]))] == ["7"]
    assert [str(cell) for cell in cells(field, pa.array(["1.50", "-2E+3"]))] == ["1.50", "-2E+3"]
    bad = {}
    decode_column(field, pa.array(["1.5", "1,5", "NaN", ""]), bad.__setitem__)
    assert bad == dict.fromkeys([1, 2, 3], "not a decimal number")


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (pa.array([1_500], pa.timestamp("ms")), "datetime64[us]", "1970-01-01T00:00:01.500000"),
        (pa.array([-1], pa.timestamp("ns")), "datetime64[us]", "1969-12-31T23:59:59.999999"),
        (pa.array([86_400], pa.timestamp("s", "UTC")), "datetime64[ns]", "1970-01-02T00:00:00.000000000"),
        (pa.array([dt.date(2024, 2, 1)]), "datetime64[s]", "2024-02-01T00:00:00"),
        (pa.array([dt.date(1900, 2, 1)]), dt.date, "1900-02-01"),
        (pa.array([dt.date(1900, 2, 1)], pa.date64()), dt.date, "1900-02-01"),
        (pa.array([-1], pa.timestamp("us")), dt.date, "1969-12-31"),
    ],
)
def test_times_in_other_units(array, dtype, expected):
    field = Field("x", dtype)
    values = decode_column(field, array, pytest.fail).values
    assert values.dtype == field.dtype
    assert [str(value) for value in values] == [expected]


def test_an_instant_out_of_range_is_reported():
    bad = {}
    array = pa.array([dt.date(9999, 1, 1), dt.date(2020, 1, 1), None])
    column = decode_column(Field("x", "datetime64[ns]", (), None, True), array, bad.__setitem__)
    assert list(bad) == [0]
    assert column.values.astype("M8[D]").tolist() == [dt.date(1970, 1, 1), dt.date(2020, 1, 1), dt.date(1970, 1, 1)]
    assert column.valid.tolist() == [True, True, False]


class TestLists:
    """Arrow lists of any kind."""

    RAGGED = Field("x", np.int32, (None,), None, True)

    @pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.int32(), 2)])
    def test_every_kind_of_list(self, kind):
        array = pa.array([[1, 2], None, [3, 4]], kind)
        assert [None if cell is None else cell.tolist() for cell in cells(self.RAGGED, array)] == [[1, 2], None, [3, 4]]
        fixed = Field("x", np.int32, (2,), None, True)
        column = decode_column(fixed, array, pytest.fail)
        assert column.values.tolist() == [[1, 2], [0, 0], [3, 4]]
        assert column.valid.tolist() == [True, False, True]

    def test_a_list_of_another_length_is_reported(self):
        bad = {}
        field = Field("x", np.int32, (2,), None, True)
        array = pa.array([[1, 2], [3], None, [4, 5, 6], [7, 8]])
        column = decode_column(field, array, bad.__setitem__)
        assert bad == {1: "expected 2 items in dimension 0, found 1", 3: "expected 2 items in dimension 0, found 3"}
        assert column.values.tolist() == [[1, 2], [0, 0], [0, 0], [0, 0], [7, 8]]
        assert column.valid.tolist() == [True, True, False, True, True]

    def test_a_bad_row_of_a_ragged_field_is_empty(self):
        bad = {}
        field = Field("x", np.int32, (None, 2))
        array = pa.array([[[1, 2]], [[3, 4], [5]], [[6, 7], [8, 9]]])
        column = decode_column(field, array, bad.__setitem__)
        assert list(bad) == [1]
        assert column.splits[0].tolist() == [0, 1, 1, 3]
        assert column.values.tolist() == [[1, 2], [6, 7], [8, 9]]

    def test_an_absent_cell_keeps_the_fixed_dimensions_before_the_first_none(self):
        field = Field("x", np.int32, (2, None), None, True)
        column = decode_column(field, pa.array([[[1], [2, 3]], None], pa.list_(pa.list_(pa.int32()))), pytest.fail)
        assert [splits.tolist() for splits in column.splits] == [[0, 2, 4], [0, 1, 3, 3, 3]]

    def test_nulls_inside(self):
        found = cells(Field("x", np.float32, (None,)), pa.array([[1.0, None], [2.0]]))
        assert np.isnan(found[0][1])
        bad = {}
        decode_column(Field("x", np.int32, (None,)), pa.array([[1], [2, None], [3]]), bad.__setitem__)
        assert bad == {1: "an item inside the list is null"}
        bad = {}
        field = Field("x", np.int32, (None, None))
        column = decode_column(field, pa.array([[[1]], [[2], None], [[3]]]), bad.__setitem__)
        assert bad == {1: "a list inside the cell is null"}
        assert column.values.tolist() == [1, 3]

    def test_text_inside(self):
        field = Field("x", np.str_, (None, None), None, True)
        array = pa.array([[["a", "bc"], []], None, [["d"]]]).slice(1)
        found = cells(field, array)
        assert found[0] is None
        assert found[1].tolist() == [["d"]]


class TestTensors:
    """TensorCodec reads its own tensors, their bare storage, and plain lists."""

    FIELD = Field("x", np.float32, (2, 3), TensorCodec(), True)

    def test_every_storage(self):
        values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
        tensors = encode_column(Field("x", np.float32, (2, 3), TensorCodec()), values)
        for array in (tensors, tensors.storage, pa.array([row.reshape(-1) for row in values])):
            column = decode_column(self.FIELD, array, pytest.fail)
            assert column.values.tolist() == values.tolist()

    def test_decoding_copies_nothing(self):
        values = np.arange(600, dtype=np.float32).reshape(100, 2, 3)
        tensors = encode_column(Field("x", np.float32, (2, 3), TensorCodec()), values)
        column = decode_column(self.FIELD, tensors, pytest.fail)
        address = tensors.storage.flatten().buffers()[1].address
        if address % ALIGNMENT == 0:
            assert column.values.ctypes.data == address
        assert column.values.ctypes.data % ALIGNMENT == 0

    def test_lists_of_another_length_are_reported(self):
        bad = {}
        column = decode_column(self.FIELD, pa.array([[1.0] * 6, [1.0] * 5, None]), bad.__setitem__)
        assert list(bad) == [1]
        assert column.values.sum() == 6
        assert column.valid.tolist() == [True, True, False]


class TestArraysUnderOneHeader:
    """The hot path of NdarrayCodec gives what the path by cells gives."""

    FIELD = Field("x", np.float32, (2, 3), NdarrayCodec(), True)

    @pytest.mark.parametrize("dtype", ["<f4", ">f4"])
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("nulls", [False, True])
    @pytest.mark.parametrize("mixed", [False, True])
    def test_byte_orders_and_layouts(self, dtype, order, nulls, mixed):
        import io

        def npy(array):
            file = io.BytesIO()
            np.save(file, array)
            return file.getvalue()

        values = np.random.default_rng(0).random((5, 2, 3)).astype(np.float32)
        stored = [npy(np.asarray(value, dtype, order=order)) for value in values]
        if mixed:
            stored[3] = npy(values[3])
        if nulls:
            stored[1] = None
        for field in (self.FIELD, Field("x", np.float32, (None, 3), NdarrayCodec(), True)):
            found = cells(field, pa.array(stored, pa.binary()))
            for row, value in enumerate(values):
                if nulls and row == 1:
                    assert found[row] is None
                else:
                    assert found[row].dtype == np.dtype("float32")
                    assert found[row].tobytes() == value.tobytes()


def test_a_webp_image_that_is_opaque_all_over_keeps_its_alpha():
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 4), dtype=np.uint8)
    image[..., 3] = 255
    for shape in [(4, 5, 4), (None, None, 4)]:
        field = Field("x", np.uint8, shape, CompressedImageCodec("webp", 101))
        assert (cells(field, encode_column(field, [image]))[0] == image).all()
    bad = {}
    field = Field("x", np.uint8, (4, 5, 4), CompressedImageCodec("png"))
    decode_column(
        field,
        encode_column(Field("x", np.uint8, (4, 5, 3), CompressedImageCodec("png")), [image[..., :3]]),
        bad.__setitem__,
    )
    assert list(bad) == [0]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (Field("x", np.int32), pa.string()),
        (Field("x", np.int32), pa.timestamp("ns")),
        (Field("x", np.int32), pa.list_(pa.int32())),
        (Field("x", np.str_), pa.int32()),
        (Field("x", Decimal), pa.float64()),
        (Field("x", "datetime64[ns]"), pa.int64()),
        (Field("x", dt.date), pa.string()),
        (Field("x", np.int32, (None,)), pa.int32()),
        (Field("x", np.int32, (None,)), pa.list_(pa.list_(pa.int32()))),
        (Field("x", np.int32, (None, None)), pa.list_(pa.int32())),
        (Field("x", np.int32, (2,), NdarrayCodec()), pa.int32()),
        (Field("x", np.int32, (2,), TensorCodec()), pa.binary()),
        (Field("x", np.int32, (), ScalarCodec("int64")), pa.binary()),
    ],
)
def test_a_type_that_cannot_become_the_field_is_refused(field, kind):
    with pytest.raises(SchemaMismatchError, match="field 'x'"):
        decode_column(field, pa.array([], kind), pytest.fail)


@pytest.mark.parametrize(
    "field",
    [
        Field("x", np.int32, (), None, True),
        Field("x", np.str_, (), None, True),
        Field("x", Decimal, (), None, True),
        Field("x", dt.date, (), None, True),
        Field("x", np.int32, (2,), NdarrayCodec(), True),
    ],
)
def test_a_column_of_nulls_has_no_type(field):
    assert cells(field, pa.nulls(3)) == [None, None, None]
    assert decode_column(field, pa.nulls(0), pytest.fail).rows == 0


def test_chunks_are_joined():
    field = Field("x", np.int32)
    assert cells(field, pa.chunked_array([[1], [2, 3]], pa.int32())) == [1, 2, 3]
    assert cells(field, pa.chunked_array([], pa.int32())) == []
