"""encode_frame with real Spark sessions: what it stores, what it refuses, and how much it holds at once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.interop import test_petastorm_reads_ours as interop
from tfpetastorm.errors import OptionError, SchemaError
from tfpetastorm.spark import dataset_as_dataframe, dict_to_spark_row, encode_frame, materialize_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # pyspark's own, of pandas and of Python
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
]

ROOT = Path(__file__).parents[2]
NPY = tps.NdarrayCodec()
FLOATS = tps.Unischema(
    "Floats", [tps.UnischemaField("id", np.int64), tps.UnischemaField("x", np.float32, (2, 3), NPY, True)]
)


def everything(nullable: bool) -> tuple[tps.Unischema, list[dict[str, Any]]]:
    """All types and codecs, those too that petastorm does not know; and rows."""
    schema, rows = interop.schema_and_rows(nullable=nullable)
    more = {
        "list": (np.int16, (None,), None),
        "grid": (np.float32, (2, 3), None),
        "texts": (np.str_, (None,), None),
        "tensor": (np.uint8, (2, 2), tps.TensorCodec()),
        "words": (np.str_, (2,), NPY),
        "fine": (np.dtype("datetime64[ns]"), (), None),
        "old": (np.dtype("datetime64[us]"), (), None),
        "day": (np.dtype("datetime64[D]"), (), None),
    }
    fields = [tps.UnischemaField(name, kind, shape, codec, nullable) for name, (kind, shape, codec) in more.items()]
    for i, row in enumerate(rows):
        row |= {
            "list": np.arange(i % 4, dtype=np.int16),
            "grid": np.full((2, 3), i / 3, np.float32),
            "texts": np.array([f"é{k}" for k in range(i % 3)], np.str_),
            "tensor": np.full((2, 2), i, np.uint8),
            "words": np.array(["a" * i, "b"], np.str_),
            "fine": np.datetime64("2001-02-03T04:05:06.789123000", "ns") + 1000 * i,
            "old": np.datetime64("0001-01-01T00:00:00.000001", "us") + np.timedelta64(100 * 365 * i, "D"),
            "day": np.datetime64("1000-01-01", "D") + 10_000 * i,
        }
        if nullable:
            row |= dict.fromkeys([name for place, name in enumerate(more) if (i + place) % 3 == 0])
    return tps.Unischema("Everything", [*schema, *fields]), rows


def rows_at(path: Path) -> list[dict[str, Any]]:
    options: dict[str, Any] = {"reader_pool_type": "dummy", "shuffle_row_groups": False}
    with tps.make_reader(path.as_uri(), **options) as reader:
        return sorted((row._asdict() for row in reader), key=lambda row: row["id"])


def stored_cells(path: Path, name: str) -> list[Any]:
    table = pq.read_table(path, columns=["id", name])
    return [cell for _, cell in sorted(zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True))]


def assert_equal_datasets(schema: tps.Unischema, spark: Path, ours: Path) -> None:
    """Value for value; of codecs that store bytes, byte for byte."""
    for one, other in zip(rows_at(spark), rows_at(ours), strict=True):
        for name in schema.fields:
            np.testing.assert_equal(one[name], other[name], err_msg=f"{name} of {one['id']}")
    for field in schema:
        if field.codec is not None and not isinstance(field.codec, (tps.ScalarCodec, tps.TensorCodec)):
            assert stored_cells(spark, field.name) == stored_cells(ours, field.name), field.name


class Rows:
    """Rows by their number, a column at a time."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __call__(self, columns: dict[str, Any]) -> dict[str, Any]:
        assert columns["id"].dtype == np.int64
        chosen = [self.rows[i] for i in columns["id"]]
        return {name: [row[name] for row in chosen] for name in self.rows[0]}


@pytest.mark.parametrize("nullable", [False, True])
def test_what_spark_writes_equals_what_a_writer_writes(spark: Any, nullable: bool, tmp_path: Path) -> None:
    schema, rows = everything(nullable)
    interop.write(tmp_path / "ours", schema, rows)
    with materialize_dataset(spark, (tmp_path / "made").as_uri(), schema):
        encode_frame(spark.range(len(rows)), schema, Rows(rows)).write.parquet((tmp_path / "made").as_uri())
    assert_equal_datasets(schema, tmp_path / "made", tmp_path / "ours")
    # The same from a DataFrame of values.
    frame = dataset_as_dataframe(spark, (tmp_path / "ours").as_uri())
    with materialize_dataset(spark, (tmp_path / "given").as_uri(), schema):
        encode_frame(frame, schema).write.parquet((tmp_path / "given").as_uri())
    lossy = set(interop.LOSSY)
    kept = tps.Unischema("Kept", [field for field in schema if field.name not in lossy])
    assert_equal_datasets(kept, tmp_path / "given", tmp_path / "ours")


@pytest.mark.parametrize("nullable", [False, True])
def test_real_petastorm_reads_it(spark: Any, nullable: bool, tmp_path: Path) -> None:
    default = ROOT / ".envs" / "petastorm" / "bin" / "python"
    python = Path(os.environ.get("TFPETASTORM_PETASTORM_PYTHON", default))
    if not python.exists():
        told = f"no petastorm at {python}; `make petastorm-env` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    schema, rows = interop.schema_and_rows(nullable=nullable)
    url = (tmp_path / "made").as_uri()
    with materialize_dataset(spark, url, schema, row_group_size_mb=0.01):
        encode_frame(spark.range(len(rows)), schema, Rows(rows)).write.parquet(url)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [python, ROOT / "tests" / "interop" / "read_with_petastorm.py", url, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "rows.json").read_text())["rows"]
    with np.load(tmp_path / "arrays.npz") as arrays:
        seen = [{name: interop._value(value, arrays) for name, value in row.items()} for row in told]
    for row, written in zip(sorted(seen, key=lambda row: row["id"]), rows, strict=True):
        for name, value in written.items():
            interop.assert_same(name, row[name], value)


# ---------------------------------------------------------------- what is given


def test_vectors_flat_lists_and_missing_columns(spark: Any, tmp_path: Path) -> None:
    from pyspark.ml.linalg import Vectors

    schema = tps.Unischema(
        "S",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("vector", np.float32, (3,), NPY),
            tps.UnischemaField("grid", np.uint8, (2, 2), NPY),
            tps.UnischemaField("note", np.str_, nullable=True),
        ],
    )
    cells = [(0, Vectors.dense([1.0, 2.0, 3.0]), [1, 2, 3, 4]), (1, Vectors.sparse(3, {1: 7.0}), [5, 6, 7, 255])]
    frame = spark.createDataFrame(
        cells, ["id", "vector", "grid"]
    )  # fmt: skip
    with materialize_dataset(spark, tmp_path.as_uri(), schema):
        encode_frame(frame, schema).write.mode("append").parquet(tmp_path.as_uri())
    found = rows_at(tmp_path)
    np.testing.assert_array_equal([row["vector"] for row in found], np.float32([[1, 2, 3], [0, 7, 0]]))
    np.testing.assert_array_equal([row["grid"] for row in found], [[[1, 2], [3, 4]], [[5, 6], [7, 255]]])
    assert [row["note"] for row in found] == [None, None]


def test_files_of_pictures_become_cells(spark: Any, tmp_path: Path) -> None:
    schema = tps.Unischema(
        "Files",
        [
            tps.UnischemaField("path", np.str_),
            tps.UnischemaField("picture", np.uint8, (None, None, 3), tps.CompressedImageCodec("png")),
        ],
    )
    field = schema.picture
    folder = tmp_path / "files"
    folder.mkdir()
    pictures = [np.full((4 + i, 5, 3), i, np.uint8) for i in range(3)]
    for i, picture in enumerate(pictures):
        (folder / f"{i}.png").write_bytes(field.codec.encode(field, picture))
    files = spark.read.format("binaryFile").load(folder.as_uri()).selectExpr("path", "content as picture")
    url = (tmp_path / "made").as_uri()
    with materialize_dataset(spark, url, schema):
        encode_frame(files, schema, encoded=["picture"]).write.parquet(url)
    with tps.make_reader(url) as reader:
        seen = {row.path[-5:]: row.picture for row in reader}
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(seen[f"{i}.png"], picture)
    (folder / "3.png").write_bytes(b"\x89PNG but no picture")
    files = spark.read.format("binaryFile").load(folder.as_uri()).selectExpr("path", "content as picture")
    with pytest.raises(Exception, match=r"EncodeError: .*field 'picture', row \d+ of partition \d+"):
        encode_frame(files, schema, encoded=["picture"]).collect()


# ---------------------------------------------------------------- what is refused


def errors_of(spark: Any, generate: Callable[[Any], Any], schema: tps.Unischema = FLOATS) -> str:
    with pytest.raises(Exception) as caught:
        encode_frame(spark.range(0, 60, 1, 1), schema, generate).collect()
    assert type(caught.value).__module__.startswith("pyspark")
    return str(caught.value)


def test_errors_reach_the_driver(spark: Any) -> None:
    def late(columns: dict[str, Any]) -> dict[str, Any]:
        return {"id": columns["id"], "x": [np.zeros((2, 3 if i != 37 else 4), np.float32) for i in columns["id"]]}

    told = errors_of(spark, late)
    assert "EncodeError: " in told
    assert "field 'x', row 37 of partition 0" in told
    assert "expected float32 of shape (2, 3), found float32 of shape (2, 4)" in told
    told = errors_of(spark, lambda columns: {"x": np.zeros((len(columns["id"]), 2, 3), np.float32)})
    assert "field 'id'" in told
    assert "nullable" in told
    told = errors_of(spark, lambda columns: {"id": columns["id"], "y": columns["id"]})
    assert "field 'y'" in told
    told = errors_of(spark, lambda columns: {"id": columns["id"], "x": np.zeros((0, 2, 3), np.float32)})
    assert "differs in length" in told
    told = errors_of(spark, lambda columns: 7)
    assert "TransformError: generate failed for rows 0 to 0 of partition 0: TypeError: 'int'" in told
    told = errors_of(spark, lambda columns: {"id": columns["id"] // columns["nope"]})
    assert "KeyError: 'nope'" in told


def test_values_of_a_frame_that_do_not_fit(spark: Any) -> None:
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.uint8)])
    with pytest.raises(Exception, match=r"EncodeError: .*field 'id', row 256 of partition 0\).*uint8, found 256"):
        encode_frame(spark.range(0, 300, 1, 1), schema).collect()
    # The first partition has no such value.
    with pytest.raises(Exception, match=r"field 'id', row 106 of partition 1\)"):
        encode_frame(spark.range(0, 300, 1, 2), schema).collect()


@pytest.mark.parametrize(
    ("schema", "options", "error", "message"),
    [
        ("none", {}, OptionError, "takes a Unischema, not str"),
        (FLOATS, {"encoded": ["y"]}, OptionError, "'y', which is no field"),
        (FLOATS, {"encoded": "id"}, OptionError, "'id', whose cells no codec"),
        (FLOATS, {"encoded": "x", "generate": dict}, OptionError, "columns of a DataFrame"),
        (FLOATS, {"generate": 5}, OptionError, "takes a function"),
        (FLOATS, {"batch_bytes": 0}, OptionError, "batch_bytes"),
        (tps.Unischema("S", [tps.UnischemaField("y", np.int8)]), {}, OptionError, r"not the fields of 'S'.*found id"),
        (tps.Unischema("S", [tps.UnischemaField("id", np.uint64)]), {}, SchemaError, "'id'.*to a spark type"),
        (tps.Unischema("S", [tps.UnischemaField("id", np.uint64, (2,))]), {}, SchemaError, "'id'.*to a spark type"),
    ],
)  # fmt: skip
def test_wrong_options_are_errors(spark: Any, schema: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        encode_frame(spark.range(3), schema, **options)
    with pytest.raises(OptionError, match="takes a DataFrame"):
        encode_frame([1], FLOATS)


# ---------------------------------------------------------------- generators, and how much is held

BLOBS = tps.Unischema(
    "Blobs",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("blob", np.uint8, (100_000,), NPY),
        tps.UnischemaField("rows", np.int64),
        tps.UnischemaField("peak", np.int64),
    ],
)


def blobs(columns: dict[str, Any]) -> dict[str, Any]:
    import resource

    ids = columns["id"]
    return {
        "id": ids,
        "blob": np.repeat((ids % 256).astype(np.uint8), 100_000).reshape(len(ids), 100_000),
        "rows": np.full(len(ids), len(ids)),
        "peak": np.full(len(ids), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024),
    }


def test_ids_that_become_pictures_stay_within_their_bytes(spark: Any) -> None:
    """4,000 ids come as one batch; at once they would be 800 MB."""
    frame = encode_frame(spark.range(0, 4000, 1, 1), BLOBS, blobs, batch_bytes=8 << 20)
    kept = frame.selectExpr("id", "rows", "peak", "length(blob) as bytes").toPandas().sort_values("id")
    assert list(kept["id"]) == list(range(4000))
    assert set(kept["bytes"]) == {100_128}
    # 200 kB a row, before and after encoding.
    assert 30 <= kept["rows"].max() <= 42
    # Growth in the worker, in MiB: the first of its rows against the last.
    assert kept["peak"].max() - kept["peak"].iloc[0] < 100


def test_rows_that_are_given_come_in_small_parts_too(spark: Any) -> None:
    seen = []

    def noted(columns: dict[str, Any]) -> dict[str, Any]:
        return {"id": np.arange(1), "blob": [np.zeros(100_000, np.uint8)], "rows": [len(columns["blob"])], "peak": [0]}

    given = spark.range(0, 200, 1, 1).selectExpr("id", "repeat('x', 100000) as blob")
    seen = [row.rows for row in encode_frame(given, BLOBS, noted, batch_bytes=1 << 20).select("rows").collect()]
    assert sum(seen) == 200
    assert max(seen) <= 10


def test_a_generator_makes_more_rows_or_fewer(spark: Any) -> None:
    def twice(columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for i in columns["id"]:
            if i % 2:
                yield {"id": [i, -i], "x": [None, np.full((2, 3), i, np.float32)]}

    found = encode_frame(spark.range(0, 10, 1, 2), FLOATS, twice).select("id").collect()
    assert [row.id for row in found] == [1, -1, 3, -3, 5, -5, 7, -7, 9, -9]


def test_what_generate_is_given(spark: Any) -> None:
    told = tps.Unischema("Told", [tps.UnischemaField("told", np.str_)])

    def tell(columns: dict[str, Any]) -> dict[str, Any]:
        rows = len(columns["n"])
        return {"told": [f"{name}: {cells.dtype} {cells[-1]!r}" for name, cells in columns.items()] if rows > 1 else []}

    frame = spark.sql(
        "select * from values (1, 1.5, 'a', array(1, 2), array(1, null), null, date'2001-01-01', named_struct('k', 1)),"
        "(2, 2.5, 'b', array(3), array(2), 7, date'1500-01-01', named_struct('k', 2)),"
        "(3, 2.5, 'b', array(3), array(2, null), 7, date'1500-01-01', named_struct('k', 3))"
        "as t(n, d, s, l, m, z, day, st)"
    ).coalesce(1)
    found = [row.told for row in encode_frame(frame, told, tell).collect()]
    assert found == [
        "n: int32 np.int32(3)", "d: object Decimal('2.5')", "s: object np.str_('b')",
        "l: object array([3], dtype=int32)",
        "m: object array([2, None], dtype=object)", "z: int32 np.int32(7)",
        "day: datetime64[D] np.datetime64('1500-01-01')", "st: object {'k': 3}",
    ]  # fmt: skip


def test_it_is_as_dict_to_spark_row_makes_them(spark: Any) -> None:
    schema, rows = interop.schema_and_rows(nullable=True)
    by_row = spark.createDataFrame([dict_to_spark_row(schema, row) for row in rows], schema.as_spark_schema())
    ours = encode_frame(spark.range(len(rows)), schema, Rows(rows))
    assert ours.schema == by_row.schema
    assert ours.orderBy("id").collect() == by_row.orderBy("id").collect()
