"""Schemas inferred from Arrow, and files whose schemas differ."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpetastorm.errors import OptionError, SchemaError, SchemaMismatchError
from tfpetastorm.schema.arrow import check_stored, column_at, infer_schema
from tfpetastorm.schema.codecs import NdarrayCodec, ScalarCodec, TensorCodec, decode_column
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.reconcile import reconcile
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema


def inferred(kind, nullable=True):
    (field,) = infer_schema(pa.schema([pa.field("x", kind, nullable)])).schema
    return field


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.uint32(), Field("x", np.uint32)),
        (pa.float16(), Field("x", np.float16)),
        (pa.bool_(), Field("x", np.bool_)),
        (pa.large_string(), Field("x", np.str_)),
        (pa.dictionary(pa.int32(), pa.string()), Field("x", np.str_)),
        (pa.dictionary(pa.int32(), pa.int64()), Field("x", np.int64)),
        (pa.binary(4), Field("x", np.bytes_)),
        (pa.decimal128(12, 2), Field("x", Decimal, (), ScalarCodec("decimal128(12, 2)"))),
        (pa.date64(), Field("x", dt.date)),
        (pa.timestamp("ms"), Field("x", "datetime64[ms]")),
        (pa.timestamp("us", "UTC"), Field("x", "datetime64[us]", (), ScalarCodec("timestamp[us, tz=UTC]"))),
        (pa.list_(pa.float32()), Field("x", np.float32, (None,))),
        (pa.large_list(pa.list_(pa.string())), Field("x", np.str_, (None, None))),
        (pa.list_(pa.list_(pa.int8(), 3)), Field("x", np.int8, (None, 3))),
        (pa.list_(pa.int8(), 4), Field("x", np.int8, (4,))),
        (pa.list_(pa.decimal128(5, 2)), Field("x", Decimal, (None,))),
        (pa.fixed_shape_tensor(pa.float32(), [2, 3]), Field("x", np.float32, (2, 3), TensorCodec())),
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_every_type_with_a_field(kind, expected, nullable):
    found = inferred(kind, nullable)
    assert found == Field("x", expected.numpy_dtype, expected.shape, expected.codec, nullable)
    assert (
        decode_column(
            found, pa.array([], kind) if "tensor" not in str(kind) else pa.array([], kind.storage_type), pytest.fail
        ).rows
        == 0
    )


UNMAPPED = [
    pa.map_(pa.string(), pa.int32()),
    pa.time32("s"),
    pa.duration("s"),
    pa.null(),
    pa.list_(pa.struct([("a", pa.int32())])),
    pa.fixed_shape_tensor(pa.bool_(), [2]),
    pa.fixed_shape_tensor(pa.int8(), [2, 3], permutation=[1, 0]),
    pa.list_(pa.int8(), 0),
]


@pytest.mark.parametrize("kind", UNMAPPED, ids=str)
def test_other_types_are_an_error_or_left_out(kind):
    schema = pa.schema([("a", pa.int32()), ("bad", kind), ("s", pa.struct([("bad", kind), ("good", pa.int8())]))])
    with pytest.raises(SchemaError, match=r"field 'bad'.*unmapped='omit'"):
        infer_schema(schema)
    found = infer_schema(schema, unmapped="omit")
    assert list(found.schema.fields) == ["a", "s.good"]
    assert list(found.omitted) == ["bad", "s.bad"]
    with pytest.raises(OptionError):
        infer_schema(schema, unmapped="drop")


def test_structs_are_flattened_with_their_nulls():
    kind = pa.struct(
        [pa.field("a", pa.struct([pa.field("b", pa.int32(), nullable=False)])), pa.field("t", pa.string())]
    )
    array = pa.array([{"a": {"b": 1}, "t": "x"}, None, {"a": None, "t": "y"}, {"a": {"b": 4}, "t": None}], kind)
    found = infer_schema(pa.schema([pa.field("s", kind)]))
    assert found.schema == Unischema(
        "Parquet", [Field("s.a.b", np.int32, nullable=True), Field("s.t", np.str_, nullable=True)]
    )
    assert found.paths == {"s.a.b": ("s", "a", "b"), "s.t": ("s", "t")}

    def cells(name, column):
        leaf = column_at(column, found.paths[name])
        return cells_of(found.schema.fields[name], decode_column(found.schema.fields[name], leaf, pytest.fail))

    assert cells("s.a.b", array) == [1, None, None, 4]
    assert cells("s.t", array) == ["x", None, "y", None]
    assert cells("s.a.b", array.slice(2)) == [None, 4]


def test_two_columns_of_one_flattened_name():
    schema = pa.schema([("s.a", pa.int8()), ("s", pa.struct([("a", pa.int16())]))])
    with pytest.raises(SchemaError, match="another column has the same name"):
        infer_schema(schema)
    assert infer_schema(schema, unmapped="omit").schema.fields["s.a"].numpy_dtype is np.int8


def test_a_schema_is_checked_against_a_file():
    schema = Unischema("S", [Field("a", np.int32), Field("b", np.int32, (2,), NdarrayCodec()), Field("c", np.str_)])
    check_stored(schema, pa.schema([("a", pa.int64()), ("b", pa.binary())]))
    with pytest.raises(
        SchemaMismatchError, match=r"field 'b', file x\.parquet\): expected b: int32 \[2\].*found list<"
    ):
        check_stored(schema, pa.schema([("b", pa.list_(pa.int32()))]), "x.parquet")
    check_stored(Unischema("S", [Field("a", np.bytes_, (), OpaqueCodec("x"))]), pa.schema([("a", pa.time32("s"))]))
    tensor = Unischema("S", [Field("a", np.int32, (2,), TensorCodec())])
    check_stored(tensor, pa.schema([("a", pa.fixed_shape_tensor(pa.int32(), [2]))]))


def both_ways(one, other):
    found = []
    for first, second in [(one, other), (other, one)]:
        schema = reconcile({"1": pa.schema([("x", first)]), "2": pa.schema([("x", second)])})
        found.append(schema.field("x").type)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.uint32(), pa.uint32()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint16(), pa.int8(), pa.int32()),
        (pa.uint32(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int64(), pa.int64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.float16(), pa.float32(), pa.float32()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.binary(3), pa.binary(4), pa.binary()),
        (pa.binary(), pa.large_binary(), pa.large_binary()),
        (pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.date32(), pa.date64(), pa.date32()),
        (pa.decimal128(10, 2), pa.decimal128(8, 4), pa.decimal128(12, 4)),
        (pa.decimal128(38, 2), pa.decimal128(38, 4), pa.decimal256(40, 4)),
        (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
        (pa.list_(pa.int8()), pa.large_list(pa.int32()), pa.list_(pa.int32())),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2), pa.list_(pa.int16(), 2)),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), pa.list_(pa.int8())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int32())]), pa.struct([("a", pa.int32())])),
    ],
)
def test_safe_widenings(one, other, expected):
    assert both_ways(one, other) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int32(), pa.string()),
        (pa.int64(), pa.float64()),
        (pa.uint64(), pa.int64()),
        (pa.string(), pa.binary()),
        (pa.bool_(), pa.int8()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us"), pa.date32()),
        (pa.int8(), pa.list_(pa.int8())),
        (pa.list_(pa.int8()), pa.list_(pa.string())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())])),
        (pa.decimal256(76, 2), pa.decimal256(76, 4)),
        (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int16())),
    ],
    ids=str,
)
def test_what_cannot_be_reconciled_names_both_files_and_types(one, other):
    schemas = {
        "a.parquet": pa.schema([("x", one)]),
        "b.parquet": pa.schema([("x", one)]),
        "c.parquet": pa.schema([("x", other)]),
    }
    with pytest.raises(SchemaMismatchError) as caught:
        reconcile(schemas)
    message = str(caught.value)
    for part in ("a.parquet", "c.parquet", "'x'", str(one), str(other)):
        assert part in message


def test_the_file_that_widened_a_column_is_the_one_named():
    schemas = {
        "1": pa.schema([("x", pa.int8())]),
        "2": pa.schema([("x", pa.int64())]),
        "3": pa.schema([("x", pa.string())]),
    }
    with pytest.raises(SchemaMismatchError, match=r"Files 2 and 3 disagree.*int64 as in 2.*string in 3"):
        reconcile(schemas)


def test_columns_that_some_files_lack_are_nullable():
    schemas = {
        "1": pa.schema([pa.field("a", pa.int8(), False), pa.field("b", pa.int8(), False)]),
        "2": pa.schema([pa.field("c", pa.int8(), False), pa.field("a", pa.int8(), False)]),
        "3": pa.schema([pa.field("a", pa.int8(), False)]),
    }
    found = reconcile(schemas)
    assert [(field.name, field.nullable) for field in found] == [("a", False), ("b", True), ("c", True)]


def test_members_that_some_files_lack_are_nullable():
    one = pa.struct([pa.field("a", pa.int8(), False), pa.field("b", pa.int8(), False)])
    other = pa.struct([pa.field("a", pa.int8(), False), pa.field("c", pa.int8(), False)])
    kind = reconcile({"1": pa.schema([("s", one)]), "2": pa.schema([("s", other)])}).field("s").type
    members = [kind.field(position) for position in range(kind.num_fields)]
    assert [(member.name, member.nullable) for member in members] == [("a", False), ("b", True), ("c", True)]


def test_metadata_makes_no_difference():
    one = pa.schema([pa.field("a", pa.int8(), metadata={"k": "1"})], metadata={"m": "1"})
    other = pa.schema([pa.field("a", pa.int8(), metadata={"k": "2"})])
    assert reconcile({"1": one, "2": other}) == pa.schema([("a", pa.int8())])
    assert reconcile({}) == pa.schema([])


def test_thousands_of_equal_schemas_are_quick():
    columns = [(f"column_{position}", pa.float32()) for position in range(200)]
    schemas = {str(file): pa.schema(columns) for file in range(3000)}
    start = time.perf_counter()
    assert len(reconcile(schemas)) == 200
    assert time.perf_counter() - start < 2


KINDS = [
    pa.int8(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint32(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.large_string(),
]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(KINDS)), max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_file_can_be_read_as_the_common_schema(files):
    schemas = {str(number): pa.schema(list(columns.items())) for number, columns in enumerate(files)}
    try:
        common = reconcile(schemas)
    except SchemaMismatchError:
        return
    assert set(common.names) == {name for columns in files for name in columns}
    target = infer_schema(common).schema
    for schema in schemas.values():
        check_stored(target, schema)
        for column in schema:
            kind = common.field(column.name).type
            if pa.types.is_integer(column.type):
                extremes = pa.array([np.iinfo(str(column.type)).min, np.iinfo(str(column.type)).max], column.type)
                field = target.fields[column.name]
                assert cells_of(field, decode_column(field, extremes, pytest.fail)) == extremes.to_pylist()
            elif pa.types.is_floating(column.type):
                assert kind.bit_width >= column.type.bit_width
