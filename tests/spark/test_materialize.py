"""materialize_dataset with real Spark sessions: what it leaves behind, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import types as T  # noqa: N812 - as Spark's users call it

import tfpetastorm as tps
from tfpetastorm.codecs import CompressedImageCodec, CompressedNdarrayCodec, NdarrayCodec, ScalarCodec
from tfpetastorm.errors import DatasetWarning, OptionError, PetastormMetadataGenerationError
from tfpetastorm.etl.dataset_metadata import get_schema_from_dataset_url, materialize_dataset
from tfpetastorm.spark import encode_frame
from tfpetastorm.unischema import Unischema, UnischemaField, dict_to_spark_row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # pyspark's own, of pandas and of Python
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
]

ROOT = Path(__file__).parents[2]
SCHEMA = Unischema(
    "Everything",
    [
        UnischemaField("id", np.int64, ()),
        UnischemaField("small", np.uint8, ()),
        UnischemaField("place", np.str_, ()),
        UnischemaField("price", Decimal, (), ScalarCodec(T.DecimalType(10, 2))),
        UnischemaField("raw", np.bytes_, (), ScalarCodec(T.BinaryType())),
        UnischemaField("vector", np.float32, (4,), NdarrayCodec()),
        UnischemaField("points", np.float64, (None, 2), CompressedNdarrayCodec(), True),
        UnischemaField("image", np.uint8, (6, 5, 3), CompressedImageCodec("png")),
        UnischemaField("maybe", np.int32, (), nullable=True),
    ],
)
KEYS = ["parquet.block.size", "parquet.summary.metadata.level", "parquet.row-group.size.row.check.min"]


def row_of(number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "id": number,
        "small": 255 - number,
        "place": ["Kiel", "São Paulo"][number % 2],
        "price": Decimal(number).scaleb(-2),
        "raw": bytes([number, 0, 255]),
        "vector": random.standard_normal(4, np.float32),
        "points": None if number % 3 == 0 else random.standard_normal((number % 4, 2)),
        "image": random.integers(0, 256, (6, 5, 3), np.uint8),
        "maybe": None if number % 2 else number,
    }


def write(
    spark: Any, url: str, numbers: range, schema: Unischema = SCHEMA, mode: str = "error", **options: Any
) -> None:
    rows = spark.sparkContext.parallelize(list(numbers), 2).map(row_of).map(partial(dict_to_spark_row, SCHEMA))
    frame = spark.createDataFrame(rows, SCHEMA.as_spark_schema())
    with materialize_dataset(spark, url, schema, **options):
        frame.write.mode(mode).partitionBy("place").parquet(url)


def settings(spark: Any) -> list[Any]:
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    return [configuration.get(key) for key in KEYS]


def rows_at(path: Path) -> list[dict[str, Any]]:
    with tps.make_reader(path.as_uri(), reader_pool_type="dummy", shuffle_row_groups=False) as reader:
        return sorted((row._asdict() for row in reader), key=lambda row: row["id"])


def assert_rows(path: Path, numbers: range) -> None:
    found = rows_at(path)
    assert [row["id"] for row in found] == list(numbers)
    for row, number in zip(found, numbers, strict=True):
        for name, value in row_of(number).items():
            np.testing.assert_equal(row[name], value, err_msg=f"{name} of {number}")


def test_what_spark_wrote_is_read_back(spark: Any, dataset_path: Path) -> None:
    before = settings(spark)
    write(spark, dataset_path.as_uri(), range(20))
    assert_rows(dataset_path, range(20))
    assert settings(spark) == before
    assert get_schema_from_dataset_url(dataset_path.as_uri()) == SCHEMA
    assert not (dataset_path / "._common_metadata.crc").exists()
    stored = tps.open_dataset(dataset_path)
    assert stored.kind == "tfpetastorm"
    assert stored.num_rows == 20
    # Spark still reads it, with its own schema.
    assert spark.read.parquet(dataset_path.as_uri()).count() == 20


def test_the_same_cells_as_a_writer_of_ours(spark: Any, dataset_path: Path, tmp_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(12))
    with tps.DatasetWriter(tmp_path / "ours", SCHEMA, partition_by=["place"]) as writer:
        for number in range(12):
            writer.write(row_of(number))
    tables = [pq.read_table(path).sort_by("id") for path in (dataset_path, tmp_path / "ours")]
    for name in SCHEMA.fields:
        # Spark has no unsigned bytes, and folders' names no type: the values are what counts.
        assert tables[0][name].to_pylist() == tables[1][name].to_pylist(), name


def test_real_petastorm_reads_what_spark_wrote_through_us(spark: Any, dataset_path: Path, tmp_path: Path) -> None:
    default = ROOT / ".envs" / "petastorm" / "bin" / "python"
    python = Path(os.environ.get("TFPETASTORM_PETASTORM_PYTHON", default))
    if not python.exists():
        told = f"no petastorm at {python}; `make petastorm-env` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    write(spark, dataset_path.as_uri(), range(8))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    script = ROOT / "tests" / "interop" / "read_with_petastorm.py"
    done = subprocess.run(
        [python, script, dataset_path.as_uri(), tmp_path],
        capture_output=True, text=True, timeout=200, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = sorted(json.loads((tmp_path / "rows.json").read_text())["rows"], key=lambda row: int(row["id"][1]))
    with np.load(tmp_path / "arrays.npz") as arrays:
        for row, number in zip(seen, range(8), strict=True):
            expected = row_of(number)
            for name in ("id", "small", "place", "price"):
                assert row[name][1] == str(expected[name])
            for name in ("vector", "image", "points"):
                if expected[name] is None:
                    assert row[name] is None
                else:
                    np.testing.assert_array_equal(arrays[row[name][1]], expected[name])


def test_appended_rows_are_listed_too(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(6))
    write(spark, dataset_path.as_uri(), range(6, 10), mode="append")
    assert_rows(dataset_path, range(10))


def test_row_groups_are_as_large_as_asked_for(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(60), row_group_size_mb=0.001)
    assert len(tps.open_dataset(dataset_path).row_groups) > 4


def test_nothing_is_described_where_the_block_fails(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(4))
    described = (dataset_path / "_common_metadata").read_bytes()
    before = settings(spark)
    with pytest.raises(ZeroDivisionError), materialize_dataset(spark, dataset_path.as_uri(), SCHEMA, 7):
        assert settings(spark) != before
        raise ZeroDivisionError
    assert settings(spark) == before
    assert (dataset_path / "_common_metadata").read_bytes() == described


def test_files_that_do_not_hold_the_schema_are_refused(spark: Any, dataset_path: Path) -> None:
    other = Unischema("Other", [*SCHEMA, UnischemaField("speed", np.float32, ())])
    before = settings(spark)
    with pytest.raises(PetastormMetadataGenerationError, match="speed"):
        write(spark, dataset_path.as_uri(), range(4), other)
    assert not (dataset_path / "_common_metadata").exists()
    assert settings(spark) == before


def test_nothing_written_is_an_error(spark: Any, dataset_path: Path) -> None:
    dataset_path.mkdir()
    with (
        pytest.raises(PetastormMetadataGenerationError, match="no Parquet files"),
        materialize_dataset(spark, dataset_path.as_uri(), SCHEMA),
    ):
        pass


def test_row_groups_have_as_many_rows_as_asked_for(spark: Any, dataset_path: Path) -> None:
    exact = not spark.version.startswith("3.")
    frame = encode_frame(spark.range(0, 100, 1, 1), SCHEMA.create_schema_view(["id"]))
    schema = SCHEMA.create_schema_view(["id"])
    told = warnings.catch_warnings() if exact else pytest.warns(DatasetWarning, match="largest has 100, not 30")
    with told, materialize_dataset(spark, dataset_path.as_uri(), schema, row_group_rows=30):
        frame.write.parquet(dataset_path.as_uri())
    rows = [group.rows for group in tps.open_dataset(dataset_path).row_groups]
    assert rows == ([30, 30, 30, 10] if exact else [100])


SESSION = ["spark.sql.parquet.outputTimestampType", "spark.sql.execution.arrow.maxRecordsPerBatch"]


def test_the_sessions_settings_are_as_before_and_its_own_go_before(spark: Any, dataset_path: Path) -> None:
    def now() -> list[Any]:
        return [spark.conf.get(name, None) for name in SESSION]

    assert now() == [None, None]
    with pytest.raises(ZeroDivisionError), materialize_dataset(spark, dataset_path.as_uri(), SCHEMA):
        assert now() == ["TIMESTAMP_MICROS", "10000"]
        raise ZeroDivisionError
    assert now() == [None, None]
    large = Unischema("Large", [UnischemaField("x", np.float32, (None, 1024, 1024), NdarrayCodec())])
    spark.conf.set(SESSION[0], "INT96")
    try:
        with pytest.raises(ZeroDivisionError), materialize_dataset(spark, dataset_path.as_uri(), large):
            assert now() == ["INT96", "4"]
            raise ZeroDivisionError
        assert now() == ["INT96", None]
    finally:
        spark.conf.unset(SESSION[0])


def test_encoded_frames_are_appended_and_partitioned(spark: Any, dataset_path: Path, tmp_path: Path) -> None:
    def columns(given: dict[str, Any]) -> dict[str, Any]:
        rows = [row_of(int(number)) for number in given["id"]]
        return {name: [row[name] for row in rows] for name in SCHEMA.fields}

    for start, mode in ((0, "error"), (7, "append")):
        with materialize_dataset(spark, dataset_path.as_uri(), SCHEMA):
            frame = encode_frame(spark.range(start, start + 7), SCHEMA, columns)
            frame.write.mode(mode).partitionBy("place").parquet(dataset_path.as_uri())
    with tps.DatasetWriter(tmp_path / "ours", SCHEMA, partition_by=["place"]) as writer:
        for number in range(14):
            writer.write(row_of(number))
    assert_rows(dataset_path, range(14))
    tables = [pq.read_table(path).sort_by("id") for path in (dataset_path, tmp_path / "ours")]
    for name in SCHEMA.fields:
        assert tables[0][name].to_pylist() == tables[1][name].to_pylist(), name
    assert {path.parent.name for path in dataset_path.rglob("*.parquet")} == {
        path.parent.name for path in (tmp_path / "ours").rglob("*.parquet")
    }  # fmt: skip


def test_rows_that_fail_leave_the_dataset_as_it_was(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(4))
    described = (dataset_path / "_common_metadata").read_bytes()

    def columns(given: dict[str, Any]) -> dict[str, Any]:
        return {name: [row_of(1)[name]] * len(given["id"]) for name in SCHEMA.fields if name != "image"}

    with (
        pytest.raises(Exception, match=r"EncodeError.*field 'image'"),
        materialize_dataset(spark, dataset_path.as_uri(), SCHEMA),
    ):
        frame = encode_frame(spark.range(9), SCHEMA, columns)
        frame.write.mode("append").partitionBy("place").parquet(dataset_path.as_uri())
    assert (dataset_path / "_common_metadata").read_bytes() == described
    assert_rows(dataset_path, range(4))


def test_blocks_that_overlap_put_everything_back(spark: Any, dataset_path: Path) -> None:
    """Whichever ends first: Spark has one configuration for all of them."""
    id_only = SCHEMA.create_schema_view(["id"])

    def now() -> list[Any]:
        return [*settings(spark), *(spark.conf.get(name, None) for name in SESSION)]

    before = now()
    urls = [dataset_path.with_name(name).as_uri() for name in ("first", "second")]
    first, second = (materialize_dataset(spark, url, id_only, 1) for url in urls)
    first.__enter__()
    within = now()
    assert within != before
    second.__enter__()
    assert now() == within
    encode_frame(spark.range(3), id_only).write.parquet(urls[0])
    first.__exit__(None, None, None)
    assert now() == within
    encode_frame(spark.range(4), id_only).write.parquet(urls[1])
    second.__exit__(None, None, None)
    assert now() == before
    assert [tps.open_dataset(url).num_rows for url in urls] == [3, 4]


def test_a_block_of_other_sizes_within_one_is_warned_of(spark: Any, dataset_path: Path) -> None:
    size = "parquet.block.size"
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    configuration.set(size, "${tfpetastorm.tests.size}")
    configuration.set("tfpetastorm.tests.size", "777")
    try:
        outer = materialize_dataset(spark, dataset_path.as_uri(), SCHEMA, 1)
        with pytest.raises(ZeroDivisionError), outer:
            inner = materialize_dataset(spark, dataset_path.as_uri(), SCHEMA, 2)
            with pytest.warns(DatasetWarning, match=size) as told:
                inner.__enter__()
            assert configuration.get(size) == str(2 << 20)
            assert told[0].filename == __file__
            error = KeyError()
            assert not inner.__exit__(KeyError, error, None)
            assert configuration.get(size) == str(1 << 20)
            raise ZeroDivisionError
        # As it was written, not what it stood for.
        assert configuration.getRaw(size) == "${tfpetastorm.tests.size}"
    finally:
        configuration.unset(size)
        configuration.unset("tfpetastorm.tests.size")


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC"])
def test_folders_named_by_moments_are_refused_where_they_are_not_in_utc(
    spark: Any, dataset_path: Path, zone: str
) -> None:
    url, at = dataset_path.as_uri(), np.datetime64("2020-07-01T12:30:00")
    schema = Unischema("Moments", [UnischemaField("id", np.int64, ()), UnischemaField("at", "datetime64[us]", ())])
    rows = [dict_to_spark_row(schema, {"id": 1, "at": at})]
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    told = (
        pytest.raises(PetastormMetadataGenerationError, match=r"zone of its session, Asia/Tokyo.*field 'at'")
        if zone != "UTC"
        else warnings.catch_warnings()
    )
    try:
        with told, materialize_dataset(spark, url, schema):
            spark.createDataFrame(rows, schema.as_spark_schema()).write.partitionBy("at").parquet(url)
        if zone == "UTC":
            assert [row["at"] for row in rows_at(dataset_path)] == [at]
        else:
            assert not (dataset_path / "_common_metadata").exists()
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)


def test_files_in_other_folders_than_the_others_are_refused(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(4))
    described = (dataset_path / "_common_metadata").read_bytes()
    rows = [dict_to_spark_row(SCHEMA, row_of(4))]
    with (
        pytest.raises(PetastormMetadataGenerationError, match="different partition folders"),
        materialize_dataset(spark, dataset_path.as_uri(), SCHEMA),
    ):
        spark.createDataFrame(rows, SCHEMA.as_spark_schema()).write.mode("append").parquet(dataset_path.as_uri())
    assert (dataset_path / "_common_metadata").read_bytes() == described
    # What Spark wrote is still there, and told of.
    with pytest.warns(DatasetWarning, match="are not in the dataset's committed list"):
        assert tps.open_dataset(dataset_path).num_rows == 4


def test_no_rows_are_a_dataset_too(spark: Any, dataset_path: Path) -> None:
    write(spark, dataset_path.as_uri(), range(0))
    assert not list(dataset_path.rglob("*.parquet"))
    stored = tps.open_dataset(dataset_path)
    assert (stored.num_rows, stored.schema) == (0, SCHEMA)
    write(spark, dataset_path.as_uri(), range(3), mode="append")
    assert_rows(dataset_path, range(3))


def test_decimals_are_stored_whole_or_refused(spark: Any, dataset_path: Path) -> None:
    """Spark would round them, and make NaN a null."""
    schema = Unischema(
        "Prices",
        [
            UnischemaField("free", Decimal, (), nullable=True),
            UnischemaField("price", Decimal, (), ScalarCodec(T.DecimalType(5, 2)), True),
        ],
    )
    for name, value in [("free", "0.1234567890123456789"), ("free", "NaN"), ("price", "1.239"), ("price", "1000.5")]:
        with pytest.raises(ValueError, match=rf"field '{name}'.*expected a (finite )?decimal"):
            dict_to_spark_row(schema, {name: Decimal(value)})
    rows = [dict_to_spark_row(schema, {"free": Decimal("0.125"), "price": Decimal("1.2300")})]
    with materialize_dataset(spark, dataset_path.as_uri(), schema):
        spark.createDataFrame(rows, schema.as_spark_schema()).write.parquet(dataset_path.as_uri())
    with tps.make_reader(dataset_path.as_uri(), reader_pool_type="dummy") as reader:
        assert [tuple(row) for row in reader] == [(Decimal("0.125"), Decimal("1.23"))]


def test_a_session_that_was_stopped_is_told_of() -> None:
    class Stopped:
        class sparkContext:  # noqa: N801 - as pyspark has it
            _jsc = None

    with pytest.raises(OptionError, match="was stopped"), materialize_dataset(Stopped, "/set", SCHEMA):
        pytest.fail("the block was entered")


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("file:///data/a%20b", {}, r"expected file:///data/a b, .* found file:///data/a%20b"),
        ("s3a://bucket/a%2Fb", {}, "another folder"),
        # What is quoted in front of the path is no part of it.
        ("s3a://user:a%2Fb@bucket/set", {"row_group_rows": 0}, "row_group_rows"),
        ("/set", {"row_group_size_mb": float("nan")}, "row_group_size_mb"),
        ("/set", {"row_group_size_mb": float("inf")}, "row_group_size_mb"),
        ("/set", {"row_group_size_mb": "64"}, "row_group_size_mb"),
        ("/set", {"row_group_rows": 0}, "row_group_rows"),
        ("/set", {"row_group_rows": 1.5}, "row_group_rows"),
        (["/set"], {}, "one folder"),
    ],
)
def test_what_can_not_be_is_told_before_spark_writes(url: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said), materialize_dataset(None, url, SCHEMA, **options):
        pytest.fail("the block was entered")
