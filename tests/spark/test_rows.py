"""Rows and types for Spark, which need pyspark but start no Java."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from pyspark.sql import types as T  # noqa: N812 - as Spark's users call it

from tfpetastorm.codecs import CompressedImageCodec, DataframeColumnCodec, NdarrayCodec, ScalarCodec
from tfpetastorm.errors import EncodeError, SchemaError
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.unischema import Unischema, UnischemaField, dict_to_spark_row

SCHEMA = Unischema(
    "Row",
    [
        UnischemaField("id", np.int64, ()),
        UnischemaField("small", np.uint8, ()),
        UnischemaField("price", Decimal, (), ScalarCodec(T.DecimalType(10, 2))),
        UnischemaField("image", np.uint8, (2, 3), CompressedImageCodec("png")),
        UnischemaField("text", np.str_, (), nullable=True),
        UnischemaField("day", dt.date, (), nullable=True),
    ],
)
ROW = {"id": 7, "small": np.uint8(200), "price": Decimal("1.50"), "image": np.zeros((2, 3), np.uint8)}


def test_a_schema_for_spark() -> None:
    assert [(f.name, f.dataType, f.nullable) for f in SCHEMA.as_spark_schema().fields] == [
        ("id", T.LongType(), False),
        ("small", T.ShortType(), False),
        ("price", T.DecimalType(10, 2), False),
        ("image", T.BinaryType(), False),
        ("text", T.StringType(), True),
        ("day", T.DateType(), True),
    ]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (np.uint16, T.IntegerType()), (np.uint32, T.LongType()), (np.float16, T.FloatType()),
        (np.bool_, T.BooleanType()), (np.bytes_, T.StringType()), (Decimal, T.DecimalType(38, 18)),
        (np.datetime64, T.TimestampType()),
    ],
)  # fmt: skip
def test_types_of_fields_without_a_codec(dtype: object, kind: object) -> None:
    assert Unischema("S", [UnischemaField("x", dtype, ())]).as_spark_schema().fields[0].dataType == kind


def test_what_spark_has_no_type_for() -> None:
    with pytest.raises(SchemaError, match=r"'x'.*to a spark type"):
        Unischema("S", [UnischemaField("x", np.uint64, ())]).as_spark_schema()
    with pytest.raises(SchemaError, match=r"codec set to None.*NdarrayCodec"):
        Unischema("S", [UnischemaField("x", np.int8, (3,))]).as_spark_schema()


def test_a_row_is_encoded_in_the_schemas_order() -> None:
    given = {"day": dt.date(2020, 1, 2), **ROW}
    row = dict_to_spark_row(SCHEMA, given)
    assert row.__fields__ == list(SCHEMA.fields)
    assert (row["id"], row["small"], row["price"], row["text"], row["day"]) == (
        7, 200, Decimal("1.50"), None, dt.date(2020, 1, 2)
    )  # fmt: skip
    assert type(row["small"]) is int
    assert row["image"][:4] == b"\x89PNG"
    assert "text" not in given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "'id' is not nullable"),
        ({"other": 1}, "has no \\['other'\\]"),
        ({"small": 256}, "'small'.*range of uint8"),
        ({"small": 1.5}, "'small'.*whole number"),
        ({"image": np.zeros((2, 4), np.uint8)}, "'image'.*Unexpected dimensions"),
        ({"text": 5}, "'text'.*a str"),
        ({"text": b"\xff"}, "'text'.*UTF-8"),
    ],
)
def test_values_that_are_not_the_fields_name_it(change: dict[str, object], message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        dict_to_spark_row(SCHEMA, {**ROW, **change})


def test_a_missing_field_and_a_list_where_a_scalar_belongs() -> None:
    with pytest.raises(EncodeError, match="'id' is not found"):
        dict_to_spark_row(SCHEMA, {k: v for k, v in ROW.items() if k != "id"})
    with pytest.raises(TypeError, match="'id'"):
        dict_to_spark_row(SCHEMA, {**ROW, "id": [1]})


class Reversed(DataframeColumnCodec):
    """A codec as petastorm's users wrote it."""

    def __init__(self, tail: str = "") -> None:
        self.tail = tail

    def encode(self, unischema_field, value):  # type: ignore[no-untyped-def]
        return bytearray(value[::-1] + self.tail, "utf-8")

    def decode(self, unischema_field, value):  # type: ignore[no-untyped-def]
        return value.decode().removesuffix(self.tail)[::-1]

    def spark_dtype(self):  # type: ignore[no-untyped-def]
        return T.BinaryType()


def test_a_codec_of_a_users_own_is_stored_and_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import tfpetastorm as tps

    schema = Unischema(
        "S", [UnischemaField("x", np.str_, (), Reversed("!")), UnischemaField("n", np.int8, (2,), NdarrayCodec())]
    )
    assert can_express(schema)
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        writer.write({"x": "abc", "n": np.array([1, 2], np.int8)})
    assert tps.open_dataset(tmp_path / "d", codecs=[Reversed]).schema.x.codec == Reversed("!")
    dataset = tps.make_dataset(tmp_path / "d", codecs=[Reversed], batch_size=1)
    assert [batch["x"].numpy().tolist() for batch in dataset] == [[b"abc"]]
    assert dict_to_spark_row(schema, {"x": "abc", "n": np.array([1, 2], np.int8)})["x"] == b"cba!"


UTC = dt.timezone.utc
STORED = [None, ScalarCodec(T.TimestampType())]


@pytest.mark.parametrize("codec", STORED)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.datetime64("2001-02-03T04:05:06.789123", "us"), dt.datetime(2001, 2, 3, 4, 5, 6, 789123, UTC)),
        (np.datetime64("1500-01-01", "D"), dt.datetime(1500, 1, 1, tzinfo=UTC)),
        (dt.datetime(2001, 2, 3, 4), dt.datetime(2001, 2, 3, 4, tzinfo=UTC)),
        (dt.datetime(2001, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=1))), dt.datetime(2001, 2, 3, 3, tzinfo=UTC)),
        (np.datetime64("NaT"), None),
    ],
)
def test_moments_are_of_utc_whatever_the_clock_on_the_wall(codec: object, value: object, expected: object) -> None:
    schema = Unischema("S", [UnischemaField("x", "datetime64[us]", (), codec, True)])
    assert dict_to_spark_row(schema, {"x": value})["x"] == expected


@pytest.mark.parametrize("codec", STORED)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.datetime64(1, "ns"), "whole number of microseconds"),
        (np.datetime64("12000-01-01", "us"), "years 1 to 9999"),
        (np.datetime64("NaT"), "NaT"),
        (5, "found int 5"),
    ],
)
def test_moments_that_spark_has_not_are_refused(codec: object, value: object, message: str) -> None:
    schema = Unischema("S", [UnischemaField("x", "datetime64[ns]", (), codec)])
    with pytest.raises(EncodeError, match=f"'x'.*{message}"):
        dict_to_spark_row(schema, {"x": value})


@pytest.mark.parametrize("codec", [None, ScalarCodec(T.DateType())])
def test_days(codec: object) -> None:
    schema = Unischema("S", [UnischemaField("x", dt.date, (), codec)])
    for value in (dt.date(2020, 1, 2), np.datetime64("2020-01-02")):
        assert dict_to_spark_row(schema, {"x": value})["x"] == dt.date(2020, 1, 2)
    with pytest.raises(EncodeError, match="whole number of days"):
        dict_to_spark_row(schema, {"x": np.datetime64("2020-01-02T01")})
