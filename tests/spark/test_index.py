"""Row-group indexes built on real Spark: what they hold, byte by byte, is what is built without it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DamagedDataError, OptionError
from tfpetastorm.etl.rowgroup_indexing import build_rowgroup_index, get_row_group_indexes
from tfpetastorm.storage.indexers import FieldNotNullIndexer, RowGroupIndexerBase, SingleFieldIndexer
from tfpetastorm.storage.row_group_index import INDEX_NAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
]

VALUES = ("id", "part", "name", "raw", "price", "when", "f32", "flag", "tags")
SCHEMA = tps.Unischema(
    "Many",
    [
        tps.UnischemaField("place", np.str_),
        tps.UnischemaField("label", np.str_),
        tps.UnischemaField("number", np.int32, nullable=True),
        tps.UnischemaField("image", np.uint8, (2, 2), tps.CompressedImageCodec("png")),
    ],
)


class Wider:
    """The context of a cluster of more cores, as far as one can tell from here: work comes in more parts."""

    defaultParallelism = 10  # noqa: N815 - Spark's name

    def __init__(self, context: Any) -> None:
        self.parallelize = context.parallelize


class Workers(RowGroupIndexerBase):
    """Which process indexed a row group, and how many rows it has."""

    def __init__(self, name: str, by: str) -> None:
        self.name, self.by = name, by
        self.groups: dict[Any, set[int]] = {}

    def __add__(self, other: Any) -> Workers:
        for value, groups in other.groups.items():
            self.groups.setdefault(value, set()).update(groups)
        return self

    index_name = property(lambda self: self.name)
    column_names = property(lambda self: ["label"])
    indexed_values = property(lambda self: list(self.groups))

    def get_row_group_indexes(self, value_key: Any) -> set[int]:
        return self.groups.get(value_key, set())

    def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> Any:
        value = os.getpid() if self.by == "process" else len(decoded_rows)
        self.groups.setdefault(value, set()).add(piece_index)
        return self.groups


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 60 row groups in three folders, and values that come in another order in each."""
    path = tmp_path_factory.mktemp("index") / "d"
    random = np.random.default_rng(3)
    with tps.DatasetWriter(path, SCHEMA, row_group_rows=5, partition_by=["place"]) as writer:
        for i in range(300):
            number = None if i % 3 == 0 else int(random.integers(0, 40))
            label = f"l{random.integers(0, 20)}"
            writer.write({"place": "abc"[i % 3], "label": label, "number": number, "image": np.zeros((2, 2), np.uint8)})
    return path


def stored(path: Path, spark: Any, indexers: list[RowGroupIndexerBase]) -> bytes:
    (path / INDEX_NAME).unlink(missing_ok=True)
    build_rowgroup_index(str(path), spark, indexers)
    return (path / INDEX_NAME).read_bytes()


def indexers_of_many() -> list[RowGroupIndexerBase]:
    fields = [SingleFieldIndexer(name, name) for name in ("place", "label", "number")]
    return [*fields, FieldNotNullIndexer("numbered", "number"), Workers("rows", "rows")]


def test_the_index_is_that_of_threads_to_the_byte(spark: Any, many: Path, tmp_path: Path, golden: Path) -> None:
    alone = stored(many, None, indexers_of_many())
    assert stored(many, spark, indexers_of_many()) == alone
    assert stored(many, spark.sparkContext, indexers_of_many()) == alone
    # Of 40 parts, so that they are merged in a tree.
    assert stored(many, Wider(spark.sparkContext), indexers_of_many()) == alone
    assert alone.count(b"l1") > 3
    theirs = Path(shutil.copytree(golden / "petastorm-0.13.1" / "indexed", tmp_path / "indexed"))
    of_all: list[RowGroupIndexerBase] = [SingleFieldIndexer(f"by {name}", name) for name in VALUES]
    of_all.append(FieldNotNullIndexer("sparse?", "sparse"))
    assert stored(theirs, spark, of_all) == stored(theirs, None, of_all)


def test_row_groups_are_read_by_sparks_workers(spark: Any, many: Path) -> None:
    class Mine(Workers):
        """A class that workers can't import."""

    stored(many, spark, [Mine("who", "process"), SingleFieldIndexer("label", "label")])
    found = get_row_group_indexes(str(many))["who"]
    assert os.getpid() not in found.indexed_values
    assert sorted(group for pid in found.indexed_values for group in found.get_row_group_indexes(pid)) == list(
        range(60)
    )


def test_what_is_selected_by_it(spark: Any, many: Path) -> None:
    stored(many, spark, [SingleFieldIndexer("label", "label")])
    selector = tps.SingleIndexSelector("label", ["l7"])
    with tps.make_reader(str(many), rowgroup_selector=selector, shuffle_row_groups=False) as reader:
        labels = [row.label for row in reader]
    with tps.make_reader(str(many)) as reader:
        assert labels.count("l7") == sum(row.label == "l7" for row in reader)
    assert 0 < len(labels) < 300


def test_damage_is_named_as_without_spark(spark: Any, many: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(many, tmp_path / "d"))
    file = sorted(path.glob("place=b/*.parquet"))[0]
    with pq.ParquetFile(file) as opened:
        chunk = opened.metadata.row_group(4).column(opened.schema_arrow.get_field_index("label"))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    raw = bytearray(file.read_bytes())
    raw[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(raw)
    messages = []
    for context in (None, spark, Wider(spark.sparkContext)):
        with pytest.raises(DamagedDataError, match=rf"file {file}, row group 4\)") as caught:
            build_rowgroup_index(path, context, [SingleFieldIndexer("label", "label")])
        messages.append(str(caught.value))
    assert messages[0] == messages[1] == messages[2]


def test_an_indexer_that_fails_says_why(spark: Any, many: Path) -> None:
    class Failing(Workers):
        def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> Any:
            raise KeyError("no such thing")

    with pytest.raises(Exception, match="no such thing"):
        build_rowgroup_index(many, spark, [Failing("x", "rows")])


@pytest.mark.parametrize("wrong", ["local[2]", 3, object()])
def test_what_is_no_spark_is_an_error(wrong: Any, many: Path) -> None:
    with pytest.raises(OptionError, match="expected a SparkContext, a SparkSession"):
        build_rowgroup_index(many, wrong, [SingleFieldIndexer("label", "label")])
