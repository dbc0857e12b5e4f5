"""Datasets as DataFrames, with real Spark sessions: decoded, by SQL over what is stored, and back again."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DatasetWarning, OptionError, SchemaError
from tfpetastorm.spark import (
    dataset_as_dataframe,
    dataset_as_rdd,
    decode_frame,
    encode_frame,
    materialize_dataset,
    stored_dataframe,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
]

#: Everything that a DataFrame can hold; Spark itself reads neither halves nor nanoseconds from Parquet.
SCHEMA = tps.Unischema(
    "Everything",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("place", np.str_),
        tps.UnischemaField("u8", np.uint8),
        tps.UnischemaField("u16", np.uint16),
        tps.UnischemaField("u32", np.uint32),
        tps.UnischemaField("u64", np.uint64),
        tps.UnischemaField("f16", np.float16),
        tps.UnischemaField("f64", np.float64, nullable=True),
        tps.UnischemaField("flag", np.bool_, nullable=True),
        tps.UnischemaField("text", np.str_, nullable=True),
        tps.UnischemaField("raw", np.bytes_),
        tps.UnischemaField("price", Decimal, (), tps.ScalarCodec("decimal128(10, 2)"), True),
        tps.UnischemaField("day", dt.date),
        tps.UnischemaField("when", "datetime64[ns]", nullable=True),
        tps.UnischemaField("native", np.int16, (None,)),
        tps.UnischemaField("vector", np.float32, (4,), tps.NdarrayCodec()),
        tps.UnischemaField("points", np.float64, (None, 2), tps.CompressedNdarrayCodec(), True),
        tps.UnischemaField("image", np.uint8, (3, 4, 3), tps.CompressedImageCodec("png")),
        tps.UnischemaField("tensor", np.uint32, (2, 2), tps.TensorCodec()),
        tps.UnischemaField("words", np.str_, (None,), tps.NdarrayCodec()),
    ],
)
OF_SPARK = ["id", "place", "u8", "u16", "u32", "u64", "f64", "flag", "text", "raw", "price", "day", "native", "vector",
            "points", "image", "words"]  # fmt: skip
ROWS = 50


def row_of(number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "id": number,
        "place": ["01", "São {Paulo}", "a b[c]*"][number % 3],
        "u8": 255 - number,
        "u16": 2**16 - 1 - number,
        "u32": 2**32 - 1 - number,
        "u64": 2**64 - 1 - number,
        "f16": np.float16(number / 8),
        "f64": None if number % 5 == 0 else number / 3,
        "flag": None if number % 7 == 0 else number % 2 == 0,
        "text": None if number % 3 == 0 else f"ü{number}",
        "raw": bytes([number, 0, 255]),
        "price": None if number % 4 == 0 else Decimal(number).scaleb(-2),
        "day": dt.date(2020, 2, 28) + dt.timedelta(number),
        "when": None if number % 6 == 0 else np.datetime64("1969-12-31T23:59:59.999999", "ns") + number * 1000,
        "native": np.arange(number % 4, dtype=np.int16),
        "vector": random.standard_normal(4, np.float32),
        "points": None if number % 3 == 0 else random.standard_normal((number % 4, 2)),
        "image": random.integers(0, 256, (3, 4, 3), np.uint8),
        "tensor": random.integers(0, 2**32, (2, 2), np.uint32),
        "words": np.array([f"w{i}" for i in range(number % 3)], object),
    }


def write(path: Path, schema: tps.Unischema = SCHEMA, rows: int = ROWS, **options: Any) -> Path:
    with tps.DatasetWriter(path, schema, **{"row_group_rows": 7, **options}) as writer:
        for number in range(rows):
            writer.write({name: value for name, value in row_of(number).items() if name in schema.fields})
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("dataframe") / "data set", partition_by=["place"])


def plain(value: Any) -> Any:
    """A cell of ours as Spark's Python rows have it."""
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value.tolist()]
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]" if value.dtype != "datetime64[D]" else value.dtype).item()
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def expected(path: Path, fields: list[str] | None = None) -> list[list[Any]]:
    with tps.make_reader(path, fields, shuffle_row_groups=False) as reader:
        return [[plain(value) for value in row] for row in reader]


def values(frame: Any) -> list[list[Any]]:
    return [[int(value) if name == "u64" else value for name, value in row.asDict().items()] for row in frame.collect()]


# ---------------------------------------------------------------- decoded


def test_a_dataset_is_a_dataframe_of_its_values_in_stored_order(spark: Any, path: Path) -> None:
    frame = dataset_as_dataframe(spark, path)
    assert values(frame) == expected(path)
    assert {field.name: field.dataType.simpleString() for field in frame.schema.fields} == {
        "id": "bigint", "place": "string", "u8": "smallint", "u16": "int", "u32": "bigint", "u64": "decimal(20,0)",
        "f16": "float", "f64": "double", "flag": "boolean", "text": "string", "raw": "binary",
        "price": "decimal(10,2)", "day": "date", "when": "timestamp_ntz", "native": "array<smallint>",
        "vector": "array<float>", "points": "array<array<double>>", "image": "array<array<array<smallint>>>",
        "tensor": "array<array<bigint>>", "words": "array<string>",
    }  # fmt: skip
    assert {field.name for field in frame.schema.fields if field.nullable} == {
        field.name for field in SCHEMA if field.nullable
    }


def test_fields_rows_and_partitions_are_chosen(spark: Any, path: Path) -> None:
    frame = dataset_as_dataframe(spark, path, ["id", "u.*"], where=[("id", ">", 40), ("place", "=", "01")])
    assert frame.columns == ["id", "u8", "u16", "u32", "u64"]
    assert sorted(row.id for row in frame.collect()) == [42, 45, 48]
    for partitions in (1, 3):
        frame = dataset_as_dataframe(spark, tps.open_dataset(path), [SCHEMA.id], partitions=partitions)
        assert frame.rdd.getNumPartitions() == partitions
        assert values(frame) == expected(path, ["id"])


def test_no_row_is_a_dataframe_all_the_same(spark: Any, path: Path) -> None:
    for where in ([("id", ">", ROWS)], lambda id: id < 0):  # noqa: A006 - the field's name
        frame = dataset_as_dataframe(spark, path, where=where)
        assert frame.collect() == []
        assert frame.columns == list(SCHEMA.fields)


def test_spark_computes_on_it(spark: Any, path: Path) -> None:
    frame = dataset_as_dataframe(spark, path, ["place", "image", "vector"])
    frame.createOrReplaceTempView("pictures")
    found = spark.sql(
        "select place, count(*) n, max(aggregate(flatten(flatten(image)), 0L, (a, x) -> a + x)) brightest "
        "from pictures group by place"
    )
    sums: dict[str, list[int]] = {}
    for number in range(ROWS):
        row = row_of(number)
        sums.setdefault(row["place"], []).append(int(row["image"].sum()))
    assert {(row.place, row.n, row.brightest) for row in found.collect()} == {
        (place, len(some), max(some)) for place, some in sums.items()
    }


def test_plain_parquet_and_petastorms_datasets(spark: Any, tmp_path: Path, golden: Path) -> None:
    table = pa.table({"s": [{"x": 1, "y": "a"}, None], "when": pa.array([0, None], pa.timestamp("ms", "UTC"))})
    pq.write_table(table, tmp_path / "plain.parquet")
    frame = dataset_as_dataframe(spark, tmp_path / "plain.parquet")
    assert [field.dataType.simpleString() for field in frame.schema.fields] == ["bigint", "string", "timestamp"]
    assert frame.selectExpr("`s.x`", "`s.y`", "unix_seconds(`when`)").collect() == [(1, "a", 0), (None, None, None)]
    theirs = golden / "petastorm-0.13.1" / "drive_small"
    assert values(dataset_as_dataframe(spark, theirs)) == expected(theirs)


def test_memory_of_workers_does_not_grow_with_the_data(spark: Any, tmp_path: Path) -> None:
    """Rows that are a thousand times larger once they are decoded, in one row group."""
    schema = tps.Unischema("Big", [SCHEMA.id, tps.UnischemaField("x", np.uint8, (None,), tps.CompressedNdarrayCodec())])
    cell = np.zeros(2**20, np.uint8)
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        for number in range(160):
            writer.write({"id": number, "x": cell})
    assert len(tps.open_dataset(tmp_path / "d").row_groups) == 1
    seen = tmp_path / "seen"

    def note(id: Any) -> Any:  # noqa: A002 - the field's name
        import resource

        with seen.open("a") as file:
            file.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")
        return id >= 0

    frame = dataset_as_dataframe(spark, tmp_path / "d", where=note, partitions=1, batch_bytes=2**22)
    assert frame.selectExpr("sum(size(x))").first()[0] == 160 * 2**20
    peaks = [int(line) for line in seen.read_text().split()]
    # In KiB: 480 MB were decoded, and made Spark's.
    assert peaks[-1] - peaks[0] < 100 * 1024
    stored = stored_dataframe(spark, (tmp_path / "d").as_uri()).coalesce(1)
    frame = decode_frame(stored, schema, batch_bytes=2**22).selectExpr("x[0]", "size(x)")
    assert frame.groupBy().sum("size(x)").first()[0] == 160 * 2**20


def test_damage_reaches_the_driver_with_its_place(spark: Any, tmp_path: Path) -> None:
    schema = tps.Unischema("S", [SCHEMA.id, SCHEMA.image])
    path = write(tmp_path / "d", schema, 20)
    [file] = path.glob("*.parquet")
    table = pq.read_table(file)
    cells = table["image"].to_pylist()
    cells[16] = b"\x89PNG no picture"
    table = table.set_column(1, table.schema.field("image"), pa.array(cells, table.schema.field("image").type))
    pq.write_table(table, file, row_group_size=7)
    frame = dataset_as_dataframe(spark, path)
    with pytest.raises(Exception, match=rf"field 'image', file {file}, row group 2, row 2\)"):
        frame.collect()
    with pytest.raises(Exception, match=r"DamagedDataError.*field 'image'"):
        decode_frame(stored_dataframe(spark, path.as_uri()), schema).collect()
    assert len(dataset_as_dataframe(spark, path, ["id"]).collect()) == 20


def test_what_spark_has_no_value_of_is_an_error_and_not_rounded(spark: Any, tmp_path: Path) -> None:
    schema = tps.Unischema("S", [tps.UnischemaField("when", "datetime64[ns]")])
    with tps.DatasetWriter(tmp_path / "d", schema, row_group_rows=2) as writer:
        for number in (0, 1000, 2000, 2001):
            writer.write({"when": np.datetime64(number, "ns")})
    with pytest.raises(Exception, match=r"EncodeError.*'when'.*row group 1, row 1.*000002001"):
        dataset_as_dataframe(spark, tmp_path / "d").collect()


def test_options_that_cannot_work(spark: Any, path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="batch_bytes"):
        dataset_as_dataframe(spark, path, batch_bytes=0)
    with pytest.raises(OptionError, match="partitions"):
        dataset_as_dataframe(spark, path, partitions=0)
    with pytest.raises(SchemaError, match="Did you mean 'image'"):
        dataset_as_dataframe(spark, path, ["imgae"])
    with pytest.raises(SchemaError, match="lacks columns"):
        decode_frame(spark.range(3), SCHEMA)
    with pytest.raises(OptionError, match="not list"):
        stored_dataframe(spark, [path.as_uri()])


def test_what_was_decoded_is_encoded_again(spark: Any, path: Path, tmp_path: Path) -> None:
    """Through Spark and back, every value is what it was; of what Spark can store."""
    without = ("raw", "u64", "when")
    schema = tps.Unischema("Again", [field for field in SCHEMA if field.name not in without])
    names = list(schema.fields)
    url = (tmp_path / "again").as_uri()
    with materialize_dataset(spark, url, schema):
        encode_frame(dataset_as_dataframe(spark, path, names).coalesce(1), schema).write.parquet(url)
    assert sorted(expected(tmp_path / "again", names)) == sorted(expected(path, names))


# ---------------------------------------------------------------- as stored, by SQL


@pytest.fixture(scope="module")
def sparks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Spark itself can read."""
    schema = tps.Unischema("OfSpark", [SCHEMA.fields[name] for name in OF_SPARK])
    return write(tmp_path_factory.mktemp("stored") / "d%20 {ü}[1]", schema, partition_by=["place"])


def test_sql_over_the_parquet_then_decoded(spark: Any, sparks: Path) -> None:
    stored_dataframe(spark, sparks.as_uri(), view="stored")
    chosen = spark.sql("select * from stored where place = '01' and id > 20 and day < date'2020-04-10' order by id")
    schema = tps.open_dataset(sparks).schema
    frame = decode_frame(chosen, schema)
    place = {name: position for position, name in enumerate(schema.fields)}
    wanted = [row for row in expected(sparks) if row[place["place"]] == "01" and row[0] > 20]
    wanted = [row for row in wanted if row[place["day"]] < dt.date(2020, 4, 10)]
    assert len(wanted) > 3
    assert values(frame) == sorted(wanted)
    assert frame.dtypes == dataset_as_dataframe(spark, sparks).dtypes
    few = decode_frame(chosen, schema, ["image", "id"], batch_bytes=1)
    assert few.columns == ["id", "image"]
    assert values(few) == [[row[0], row[place["image"]]] for row in sorted(wanted)]


@pytest.mark.parametrize("who", ["writer", "spark"])
def test_instants_are_the_same_in_every_zone(spark: Any, tmp_path: Path, who: str) -> None:
    """Spark shows instants in the session's zone; what is decoded is as stored."""
    fields = [tps.UnischemaField("id", np.int64), tps.UnischemaField("when", "datetime64[us]", nullable=True)]
    schema = tps.Unischema("Times", fields)
    times = [
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
        None,
        dt.datetime(2020, 3, 29, 1, 30),
        dt.datetime(1883, 1, 1),
    ]
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        if who == "writer":
            with tps.DatasetWriter(tmp_path / "d", schema) as writer:
                for number, time in enumerate(times):
                    writer.write({"id": number, "when": None if time is None else np.datetime64(time, "us")})
        else:
            given = spark.createDataFrame(list(enumerate(times)), "id long, when timestamp_ntz").coalesce(1)
            url = (tmp_path / "d").as_uri()
            with materialize_dataset(spark, url, schema):
                encode_frame(given, schema).write.parquet(url)
        expected = list(enumerate(times))
        assert list(map(tuple, dataset_as_dataframe(spark, tmp_path / "d").collect())) == expected
        stored = stored_dataframe(spark, (tmp_path / "d").as_uri())
        assert sorted(map(tuple, decode_frame(stored, schema).collect())) == expected
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)


def test_only_listed_files_are_data_and_folders_keep_their_type(spark: Any, sparks: Path) -> None:
    stray = next(sparks.glob("place=01/*.parquet"))
    (stray.parent / "stray.parquet").write_bytes(stray.read_bytes())
    try:
        with pytest.warns(DatasetWarning, match=r"not in the dataset's committed list.*stray"):
            frame = stored_dataframe(spark, sparks.as_uri())
        assert frame.count() == ROWS
        assert dict(frame.dtypes)["place"] == "string"
        assert {row.place for row in frame.select("place").distinct().collect()} == {
            row_of(i)["place"] for i in range(3)
        }
        assert dict(frame.dtypes)["image"] == "binary"
    finally:
        (stray.parent / "stray.parquet").unlink()


def test_fields_of_the_view_are_chosen(spark: Any, sparks: Path) -> None:
    frame = stored_dataframe(spark, sparks.as_uri() + "/", ["id", "place"], view="two")
    assert frame.columns == spark.table("two").columns
    assert sorted(frame.columns) == ["id", "place"]


def test_an_rdd_of_decoded_rows(spark: Any, sparks: Path) -> None:
    names = ["id", "image", "place"]
    rows = dataset_as_rdd(sparks.as_uri(), spark, names).collect()
    assert type(rows[0])._fields == tuple(name for name in tps.open_dataset(sparks).schema.fields if name in names)
    assert sorted([row.id, row.image.tolist(), row.place] for row in rows) == sorted(
        [number, row_of(number)["image"].tolist(), row_of(number)["place"]] for number in range(ROWS)
    )


def test_rows_of_an_rdd_are_those_of_make_reader(spark: Any, path: Path) -> None:
    """Of every type, codec and shape, nulls included: the same types of Python and NumPy, dtypes and shapes."""
    rows = dataset_as_rdd(path.as_uri(), spark).collect()
    with tps.make_reader(path, shuffle_row_groups=False) as reader:
        wanted = list(reader)
    assert len(rows) == len(wanted) == ROWS
    for row, want in zip(rows, wanted, strict=True):
        assert row._fields == want._fields
        for name in row._fields:
            one, other = getattr(row, name), getattr(want, name)
            assert type(one) is type(other), name
            assert getattr(one, "dtype", None) == getattr(other, "dtype", None), name
            np.testing.assert_equal(one, other, err_msg=name)
    # Whoever gets a row in a worker may write to it.
    assert dataset_as_rdd(path.as_uri(), spark, ["native", "image"]).map(_doubled).sum() > 0


def _doubled(row: Any) -> int:
    row.native[...] *= 2
    row.image[...] //= 2
    return int(row.native.sum()) + int(row.image.sum())


def test_an_rdd_of_many_rows_keeps_their_order(spark: Any, tmp_path: Path) -> None:
    schema = tps.Unischema("Many", [SCHEMA.id, SCHEMA.text])
    with tps.DatasetWriter(tmp_path / "d", schema, row_group_rows=9_000) as writer:
        writer.write_batch(
            {"id": np.arange(20_000), "text": [None if i % 5 == 0 else f"t{i % 7}" for i in range(20_000)]}
        )
    rdd = dataset_as_rdd((tmp_path / "d").as_uri(), spark)
    assert rdd.getNumPartitions() == 2
    rows = [tuple(row) for row in rdd.collect()]
    assert rows == [(i, None if i % 5 == 0 else f"t{i % 7}") for i in range(20_000)]


def test_damage_reaches_the_driver_from_an_rdd(spark: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "d", tps.Unischema("S", [SCHEMA.id, SCHEMA.vector]), 8)
    [file] = path.glob("*.parquet")
    table = pq.read_table(file)
    cells = table["vector"].to_pylist()
    cells[7] = b"no array"
    pq.write_table(
        table.set_column(1, table.schema.field("vector"), pa.array(cells, pa.binary())), file, row_group_size=7
    )
    with pytest.raises(Exception, match=rf"field 'vector', file {file}, row group 1, row 0\)"):
        dataset_as_rdd(path.as_uri(), spark).collect()


class OfConnect:
    """What a session of Spark Connect, which is a server's, says when it is asked for its context."""

    @property
    def sparkContext(self) -> Any:  # noqa: N802 - Spark's name
        from pyspark.errors import PySparkNotImplementedError

        raise PySparkNotImplementedError("[NOT_IMPLEMENTED] sparkContext() is not implemented.")


def test_spark_connect_has_no_rdds_and_is_told_what_it_has(path: Path) -> None:
    with pytest.raises(OptionError, match=r"Spark Connect has no RDDs.*dataset_as_dataframe"):
        dataset_as_rdd(path.as_uri(), OfConnect())
    with pytest.raises(AttributeError, match="sparkContext"):
        dataset_as_rdd(path.as_uri(), None)


# ---------------------------------------------------------------- no rows, and odd names


def test_a_dataset_without_files_is_empty_and_has_its_types(spark: Any, tmp_path: Path) -> None:
    write(tmp_path / "d", rows=0)
    url = (tmp_path / "d").as_uri()
    assert not tps.open_dataset(url).files
    frame = stored_dataframe(spark, url, view="nothing")
    assert spark.sql("select * from nothing where id > 3").collect() == []
    assert {field.name: field.dataType.simpleString() for field in frame.schema.fields} == {
        "id": "bigint", "place": "string", "u8": "smallint", "u16": "int", "u32": "bigint", "u64": "decimal(20,0)",
        "f16": "float", "f64": "double", "flag": "boolean", "text": "string", "raw": "string",
        "price": "decimal(10,2)", "day": "date", "when": "timestamp", "native": "array<smallint>",
        "vector": "binary", "points": "binary", "image": "binary", "tensor": "array<bigint>",
        "words": "binary",
    }  # fmt: skip
    assert stored_dataframe(spark, url, ["image", "id"]).columns == ["id", "image"]
    decoded = decode_frame(frame, SCHEMA)
    assert decoded.collect() == []
    assert decoded.dtypes == dataset_as_dataframe(spark, url).dtypes
    assert dataset_as_rdd(url, spark).collect() == []
    assert dataset_as_rdd(url, spark, ["id"]).map(lambda row: row.id).count() == 0


def test_files_without_rows(spark: Any, tmp_path: Path) -> None:
    schema = tps.Unischema("S", [SCHEMA.id, SCHEMA.vector])
    url = (tmp_path / "d").as_uri()
    with materialize_dataset(spark, url, schema):
        encode_frame(spark.range(5).filter("id > 7"), schema, dict).write.parquet(url)
    for frame in (stored_dataframe(spark, url), dataset_as_dataframe(spark, url), dataset_as_rdd(url, spark)):
        assert frame.collect() == []


def test_names_with_dots_and_quotes(spark: Any, tmp_path: Path) -> None:
    names = ["a.b", "`c`.d", "a"]
    schema = tps.Unischema(
        "Dotted",
        [
            tps.UnischemaField("a.b", np.int64),
            tps.UnischemaField("`c`.d", np.float32, (2,), tps.NdarrayCodec()),
            tps.UnischemaField("a", np.str_, nullable=True),
        ],
    )
    frame = spark.sql("select id as `a.b`, array(cast(id as float), 0.5F) as ```c``.d` from range(3)")
    encoded = encode_frame(frame, schema)
    assert encoded.columns == names
    wanted = [(0, [0.0, 0.5], None), (1, [1.0, 0.5], None), (2, [2.0, 0.5], None)]
    decoded = decode_frame(encoded, schema)
    assert decoded.columns == names
    assert sorted(map(tuple, decoded.collect())) == wanted
    # A function is given them by their own names.
    made = encode_frame(frame, schema, lambda given: {name: list(given[name]) for name in ("a.b", "`c`.d")})
    assert sorted(map(tuple, decode_frame(made, schema).collect())) == wanted


def test_members_of_structs_are_decoded(spark: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"s": [{"x": 1, "y": "a"}, None]}), tmp_path / "plain.parquet")
    schema = tps.open_dataset(tmp_path).schema
    decoded = decode_frame(stored_dataframe(spark, tmp_path.as_uri()), schema)
    assert decoded.columns == ["s.x", "s.y"]
    assert list(map(tuple, decoded.collect())) == [(1, "a"), (None, None)]


def test_columns_that_files_have_gained(spark: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [2], "b": ["x"]}), tmp_path / "2.parquet")
    frame = stored_dataframe(spark, tmp_path.as_uri())
    assert sorted(map(tuple, frame.collect())) == [(1, None), (2, "x")]
    assert sorted(map(tuple, dataset_as_dataframe(spark, tmp_path).collect())) == [(1, None), (2, "x")]
    for one in (tmp_path / "2.parquet", str(tmp_path / "2.parquet"), (tmp_path / "2.parquet").as_uri()):
        assert list(map(tuple, stored_dataframe(spark, one).collect())) == [(2, "x")]


def test_what_spark_calls_a_dataset_may_be_another_name(spark: Any, sparks: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sparks)
    frame = stored_dataframe(spark, sparks, ["id"], spark_url=(tmp_path / "link").as_uri())
    assert frame.count() == ROWS
    assert {file.partition("/link/")[1] for file in frame.inputFiles()} == {"/link/"}
    file = next(sparks.glob("place=01/*.parquet"))
    assert {row.place for row in stored_dataframe(spark, file).collect()} == {"01"}
