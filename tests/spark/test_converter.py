"""make_spark_converter with real Spark sessions: what it stores, when again, what it warns of, and what comes out."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import types as T  # noqa: N812 - as Spark's users call it

from tfpetastorm import DatasetWriter, Unischema, UnischemaField, make_batch_reader
from tfpetastorm.errors import DatasetError, DatasetWarning, FilesNotSeenError, OptionError
from tfpetastorm.spark import SparkDatasetConverter, make_spark_converter, spark_dataset_converter
from tfpetastorm.spark.spark_dataset_converter import register_delete_dir_handler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # pyspark's own, of pandas and of Python
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
    pytest.mark.filterwarnings("ignore:The median size:tfpetastorm.errors.DatasetWarning"),
]

ROOT = Path(__file__).parents[2]
CONF = SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF
FLOATS = T.StructType(
    [
        T.StructField("id", T.LongType(), False),
        T.StructField("wide", T.DoubleType(), False),
        T.StructField("narrow", T.FloatType(), False),
        T.StructField("many", T.ArrayType(T.DoubleType(), False), False),
        T.StructField("nested.wide", T.ArrayType(T.ArrayType(T.DoubleType(), False), False), False),
        T.StructField("text", T.StringType(), False),
        T.StructField("raw", T.BinaryType(), False),
    ]
)


@pytest.fixture
def parent(spark: Any, tmp_path: Path) -> Iterator[Path]:
    """The folder in which DataFrames are stored."""
    spark.conf.set(CONF, tmp_path.as_uri() + "/")
    yield tmp_path
    spark.conf.unset(CONF)


def floats(spark: Any, rows: int = 10) -> Any:
    cells = [(i, i + 0.1, i + 0.5, [i / 3, 1.0], [[i / 7]], f"ü{i}", bytes([i, 0])) for i in range(rows)]
    return spark.createDataFrame(cells, FLOATS).coalesce(1)


def folder_of(converter: SparkDatasetConverter) -> Path:
    return Path(converter.cache_dir_url.removeprefix("file://"))


def stored(converter: SparkDatasetConverter) -> pa.Schema:
    return pq.read_schema(next(folder_of(converter).glob("*.parquet")))


# ---------------------------------------------------------------- what comes out


def test_values_come_out_in_batches_of_namedtuples(spark: Any, parent: Path) -> None:
    converter = make_spark_converter(floats(spark, 100).drop("nested.wide"), dtype=None)
    assert len(converter) == converter.dataset_size == 100
    with converter.make_tf_dataset(num_epochs=1, batch_size=30, shuffle_row_groups=False) as dataset:
        batches = [type(batch)(*(part.numpy() for part in batch)) for batch in dataset]
    assert [len(batch.id) for batch in batches] == [30, 30, 30, 10]
    ids = np.concatenate([batch.id for batch in batches])
    np.testing.assert_array_equal(ids, np.arange(100))
    np.testing.assert_array_equal(np.concatenate([batch.wide for batch in batches]), np.arange(100) + 0.1)
    np.testing.assert_array_equal(batches[1].many[:, 0], np.arange(30, 60) / 3)
    assert batches[0].text[3] == "ü3".encode()
    assert batches[0].raw[3] == b"\x03\0"
    assert batches[0].wide.dtype == np.float64
    assert batches[0].narrow.dtype == np.float32


def test_times_of_any_century_are_stored_as_what_they_are(spark: Any, parent: Path) -> None:
    texts = ["0001-01-01T00:00:00", "1000-02-03T04:05:06.000007", "2020-01-01T00:00:00", "9999-12-31T00:00:00"]
    moments = ", ".join(f"(timestamp'{text}Z', date'{text[:10]}')" for text in texts)
    converter = make_spark_converter(spark.sql(f"select * from values {moments} as made(t, d)").coalesce(1))
    with make_batch_reader(list(converter.file_urls), num_epochs=1, shuffle_row_groups=False) as reader:
        [batch] = reader
    # Compared to nanoseconds, which other centuries do not fit in, NumPy would wrap these around as well.
    assert batch.t.dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(batch.t, np.array(texts, "datetime64[us]"))
    np.testing.assert_array_equal(batch.d.astype("datetime64[D]"), np.array([text[:10] for text in texts], "M8[D]"))
    assert spark.conf.get("spark.sql.parquet.outputTimestampType", None) in (None, "INT96")


def test_batches_of_an_endless_dataset_are_all_full_and_of_32_rows(spark: Any, parent: Path) -> None:
    converter = make_spark_converter(spark.range(50).repartition(3))
    with converter.make_tf_dataset() as dataset:
        sizes = [len(batch.id) for batch in dataset.take(9)]
    assert sizes == [32] * 9


def test_a_capacity_mixes_the_rows_of_every_epoch(spark: Any, parent: Path) -> None:
    converter = make_spark_converter(spark.range(200).coalesce(1))
    with converter.make_tf_dataset(batch_size=200, num_epochs=2, shuffling_queue_capacity=10, seed=3) as dataset:
        one, two = (batch.id.numpy() for batch in dataset)
    assert sorted(one) == sorted(two) == list(range(200))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, np.arange(200))


def test_shards_share_the_rows(spark: Any, parent: Path) -> None:
    converter = make_spark_converter(spark.range(40).repartition(3))
    seen: list[int] = []
    for shard in range(4):
        with converter.make_tf_dataset(num_epochs=1, cur_shard=shard, shard_count=4) as dataset:
            part = [int(i) for batch in dataset for i in batch.id]
        assert len(part) == 10
        seen += part
    assert sorted(seen) == list(range(40))


def test_vectors_become_arrays(spark: Any, parent: Path) -> None:
    from pyspark.ml.linalg import Vectors
    from pyspark.mllib.linalg import Vectors as OldVectors

    cells = [
        (Vectors.dense(0.1, 2.0, 3.0), OldVectors.dense(10.0, 0.1)),
        (Vectors.sparse(3, {1: 0.1}), OldVectors.sparse(2, {})),
    ]
    frame = spark.createDataFrame(cells, ["new", "old"]).coalesce(1)
    for dtype, expected in ((None, np.float64), ("float64", np.float64), ("float32", np.float32)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DatasetWarning)
            converter = make_spark_converter(frame, dtype=dtype)
        with converter.make_tf_dataset(num_epochs=1, shuffle_row_groups=False) as dataset:
            [batch] = dataset
        assert batch.new.dtype == batch.old.dtype == expected
        np.testing.assert_array_equal(batch.new, np.array([[0.1, 2, 3], [0, 0.1, 0]], expected))
        np.testing.assert_array_equal(batch.old, np.array([[10, 0.1], [0, 0]], expected))


def test_training_with_keras(spark: Any, parent: Path) -> None:
    import keras

    cells = [([float(i % 7), float(i % 3)], float(2 * (i % 7) - i % 3)) for i in range(128)]
    frame = spark.createDataFrame(cells, "x array<float>, y float").coalesce(2)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.02), "mse")
    with make_spark_converter(frame).make_tf_dataset(batch_size=16, shuffling_queue_capacity=64, seed=0) as dataset:
        pairs = dataset.map(lambda batch: (batch.x, batch.y[:, None]))
        losses = model.fit(pairs, steps_per_epoch=8, epochs=6, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < losses[0] / 4


def test_training_with_torch(spark: Any, parent: Path) -> None:
    torch = pytest.importorskip("torch")
    from tfpetastorm.torch import BatchedDataLoader, DataLoader

    cells = [([float(i % 7), float(i % 3)], float(2 * (i % 7) - i % 3)) for i in range(128)]
    converter = make_spark_converter(spark.createDataFrame(cells, "x array<float>, y float").coalesce(2))
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    losses = []
    with converter.make_torch_dataloader(batch_size=16, num_epochs=6, shuffling_queue_capacity=64, seed=0) as loader:
        assert isinstance(loader, BatchedDataLoader)
        for batch in loader:
            loss = ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == 48
    assert losses[-1] < losses[0] / 4
    with converter.make_torch_dataloader(data_loader_fn=DataLoader, num_epochs=1) as other:
        assert isinstance(other, DataLoader)
        assert sum(len(batch["y"]) for batch in other) == 128


def test_leaving_ends_the_reader(spark: Any, parent: Path) -> None:
    manager = make_spark_converter(spark.range(10)).make_tf_dataset()
    with manager as dataset:
        next(iter(dataset))
        reader = manager.reader
        assert not reader.stopped
    assert reader.stopped
    with pytest.raises(ZeroDivisionError), manager:
        reader = manager.reader
        1 / 0  # noqa: B018
    assert reader.stopped


def test_a_loader_that_cannot_be_made_ends_the_reader(spark: Any, parent: Path) -> None:
    readers = []

    def fail(reader: Any, **_: Any) -> None:
        readers.append(reader)
        raise KeyError("no loader")

    with (
        pytest.raises(KeyError, match="no loader"),
        make_spark_converter(spark.range(10)).make_torch_dataloader(data_loader_fn=fail),
    ):
        pass
    assert readers[0].stopped


def test_a_path_is_taken_as_it_is_without_a_folder_to_store_in(spark: Any, tmp_path: Path) -> None:
    floats(spark).write.parquet(str(tmp_path / "there"))
    converter = make_spark_converter(str(tmp_path / "there"))
    assert len(converter) == 10
    assert converter.cache_dir_url == str(tmp_path / "there")
    with converter.make_tf_dataset(schema_fields=["id", "wide"], num_epochs=1) as dataset:
        [batch] = dataset
    assert sorted(batch.id.numpy()) == list(range(10))
    assert batch.wide.dtype == np.float64


def test_of_a_dataset_at_a_path_its_own_files_are_taken(spark: Any, tmp_path: Path) -> None:
    schema = Unischema("S", [UnischemaField("id", np.int64), UnischemaField("k", np.str_)])
    # A name of which parts must be quoted in a URL.
    folder = tmp_path / "my set"
    with DatasetWriter(folder, schema, partition_by=["k"]) as writer:
        for i in range(4):
            writer.write({"id": i, "k": f"{i % 2} %20"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        warnings.filterwarnings("ignore", "The median size of the 2 ", DatasetWarning)
        converter = make_spark_converter(folder)
    assert len(converter) == 4
    assert len(converter.file_urls) == 2
    with converter.make_tf_dataset(num_epochs=1) as dataset:
        assert sorted(int(i) for batch in dataset for i in batch.id) == [0, 1, 2, 3]
    inner = next(folder.glob("k=*"))
    pq.write_table(pa.table({"id": [9]}), inner / "left.parquet")
    with pytest.warns(DatasetWarning, match="not in the dataset's committed list"):
        again = make_spark_converter(folder)
    assert (len(again), list(again.file_urls)) == (4, list(converter.file_urls))


def test_metadata_of_a_dataset_without_a_list_is_no_data(spark: Any, tmp_path: Path) -> None:
    spark.range(3).coalesce(1).write.parquet(str(tmp_path / "there"))
    [file] = (tmp_path / "there").glob("*.parquet")
    pq.write_metadata(pq.read_schema(file), tmp_path / "there" / "_common_metadata")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        converter = make_spark_converter(tmp_path / "there")
    assert (len(converter), [Path(url).name for url in converter.file_urls]) == (3, [file.name])


def test_it_can_be_pickled(spark: Any, parent: Path) -> None:
    converter = pickle.loads(pickle.dumps(make_spark_converter(spark.range(5))))
    with converter.make_tf_dataset(num_epochs=1) as dataset:
        assert sorted(int(i) for batch in dataset for i in batch.id) == list(range(5))


# ---------------------------------------------------------------- precision


def test_precision_is_not_lost_in_silence(spark: Any, parent: Path) -> None:
    with pytest.warns(DatasetWarning, match="float64 becomes float32 in 'wide', 'many', 'nested.wide'") as caught:
        converter = make_spark_converter(floats(spark))
    [warning] = [one for one in caught if "float64" in str(one.message)]
    assert warning.filename == __file__
    schema = stored(converter)
    assert schema.names == FLOATS.names
    assert schema.field("wide").type == schema.field("many").type.value_type == pa.float32()
    assert schema.field("nested.wide").type.value_type.value_type == pa.float32()


@pytest.mark.parametrize(("dtype", "narrow"), [(None, pa.float32()), ("float64", pa.float64())])
def test_precision_can_be_kept_or_raised(spark: Any, parent: Path, dtype: str | None, narrow: pa.DataType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)
        schema = stored(make_spark_converter(floats(spark), dtype=dtype))
    assert schema.field("wide").type == schema.field("many").type.value_type == pa.float64()
    assert schema.field("narrow").type == narrow
    assert schema.field("id").type == pa.int64()


# ---------------------------------------------------------------- storing, and finding again


def test_the_same_plan_and_options_are_stored_once(spark: Any, parent: Path) -> None:
    frame = spark.range(10)
    first = make_spark_converter(frame)
    assert make_spark_converter(spark.range(10)).cache_dir_url == first.cache_dir_url
    assert folder_of(first).parent == parent
    others = [
        make_spark_converter(spark.range(11)),
        make_spark_converter(frame, parquet_row_group_size_bytes=2**20),
        make_spark_converter(frame, compression_codec="snappy"),
        make_spark_converter(frame, dtype=None),
    ]
    assert len({first.cache_dir_url, *(other.cache_dir_url for other in others)}) == 5
    [file] = list(folder_of(others[2]).glob("*.parquet"))[:1]
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "SNAPPY"


def test_other_names_of_columns_are_stored_anew(spark: Any, parent: Path) -> None:
    frame = spark.createDataFrame([(1, 10), (2, 20)], ["a", "b"]).coalesce(1)
    first = make_spark_converter(frame.toDF("feature", "label"))
    second = make_spark_converter(frame.toDF("label", "feature"))
    assert first.cache_dir_url != second.cache_dir_url
    for converter, feature in ((first, [1, 2]), (second, [10, 20])):
        with converter.make_tf_dataset(num_epochs=1, shuffle_row_groups=False) as dataset:
            [batch] = dataset
        assert batch.feature.numpy().tolist() == feature
    assert make_spark_converter(frame.toDF("label", "feature")).cache_dir_url == second.cache_dir_url


def test_a_frame_whose_files_have_changed_is_stored_anew(spark: Any, parent: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    spark.range(3).coalesce(1).write.parquet(str(source))
    frame = spark.read.parquet(str(source))
    first = make_spark_converter(frame)
    assert make_spark_converter(spark.read.parquet(str(source))).cache_dir_url == first.cache_dir_url
    spark.range(100, 107).coalesce(1).write.mode("overwrite").parquet(str(source))
    second = make_spark_converter(spark.read.parquet(str(source)))
    assert (len(first), len(second)) == (3, 7)
    # Written anew under the name it had.
    [file] = source.glob("*.parquet")
    (source / f".{file.name}.crc").unlink()
    pq.write_table(pa.table({"id": pa.array([7], pa.int64())}), file)
    assert len(make_spark_converter(spark.read.parquet(str(source)))) == 1
    # The files of this frame are gone: what was stored of it is all there is.
    assert make_spark_converter(frame).cache_dir_url == first.cache_dir_url


def test_row_groups_are_as_large_as_told(spark: Any, parent: Path) -> None:
    from pyspark.sql import functions

    frame = spark.range(200_000).select(functions.rand(1).alias("x")).coalesce(1)
    converter = make_spark_converter(frame, parquet_row_group_size_bytes=2**18, dtype=None)
    [file] = folder_of(converter).glob("*.parquet")
    metadata = pq.ParquetFile(file).metadata
    assert metadata.num_row_groups >= 4
    assert metadata.row_group(0).total_byte_size < 2**19


def test_what_was_deleted_is_stored_anew(spark: Any, parent: Path) -> None:
    first = make_spark_converter(spark.range(10))
    first.delete()
    assert not folder_of(first).exists()
    first.delete()
    second = make_spark_converter(spark.range(10))
    assert second.cache_dir_url != first.cache_dir_url
    # Also where somebody else deleted it.
    spark_dataset_converter._delete_dir_handler(second.cache_dir_url)
    third = make_spark_converter(spark.range(10))
    assert folder_of(third).exists()


def test_a_users_own_files_are_not_deleted(spark: Any, tmp_path: Path) -> None:
    spark.range(3).coalesce(1).write.parquet(str(tmp_path / "mine"))
    for given in (tmp_path / "mine", str(tmp_path / "mine"), f"file://{tmp_path}/mine"):
        converter = make_spark_converter(given)
        for one in (converter, pickle.loads(pickle.dumps(converter))):
            with pytest.warns(DatasetWarning, match=f"{tmp_path}/mine were there before .* left as they are") as caught:
                one.delete()
            assert caught[0].filename == __file__
    assert len(make_spark_converter(tmp_path / "mine")) == 3


@pytest.mark.parametrize("name", ["a b", "a[1]", "a{1,2}", "q?x", "h#x", "100%", "ü"])
def test_a_folder_of_any_name_holds_them(spark: Any, tmp_path: Path, name: str) -> None:
    spark.conf.set(CONF, f"file://{tmp_path}/{name}")
    try:
        converter = make_spark_converter(spark.range(5).coalesce(1))
        assert make_spark_converter(spark.range(5).coalesce(1)).cache_dir_url == converter.cache_dir_url
    finally:
        spark.conf.unset(CONF)
    assert [folder.parent for folder in (tmp_path / name).iterdir()] == [tmp_path / name]
    with converter.make_tf_dataset(num_epochs=1, shuffle_row_groups=False) as dataset:
        assert [batch.id.numpy().tolist() for batch in dataset] == [[0, 1, 2, 3, 4]]
    with converter.make_tf_dataset(num_epochs=1) as dataset:
        assert sum(len(batch.id) for batch in dataset) == 5
    assert len(make_spark_converter(converter.cache_dir_url)) == 5
    converter.delete()
    assert not list((tmp_path / name).iterdir())


def test_urls_that_spark_takes_for_others_are_refused(spark: Any, tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/a%20b", f"file:{tmp_path}/a%20b"):
        spark.conf.set(CONF, url)
        try:
            with pytest.raises(OptionError, match=r"another folder's: expected file:.*/a b, .* found .*/a%20b\. Give"):
                make_spark_converter(spark.range(3))
        finally:
            spark.conf.unset(CONF)
        with pytest.raises(OptionError, match=r"another folder's: expected file:.*/a b, "):
            make_spark_converter(url)
    spark.conf.set(CONF, "s3a://key:s%2Fcret@bucket/x?region=eu")
    try:
        with pytest.raises(OptionError, match=r"bucket/x, as to Spark \"\?\" is a part of the name") as refused:
            make_spark_converter(spark.range(3))
    finally:
        spark.conf.unset(CONF)
    assert "cret" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_handler_deletes(spark: Any, parent: Path) -> None:
    told: list[str] = []
    converter = make_spark_converter(spark.range(12))
    register_delete_dir_handler(told.append)
    try:
        converter.delete()
    finally:
        register_delete_dir_handler(None)
    assert told == [converter.cache_dir_url]
    assert folder_of(converter).exists()


def test_what_spark_fails_to_store_is_not_found_again(spark: Any, parent: Path) -> None:
    from pyspark.sql import functions

    frame = spark.range(3).select(functions.expr("raise_error('bad row')").cast("int").alias("x"))
    for _ in range(2):
        with pytest.raises(Exception, match="bad row"):
            make_spark_converter(frame)
    assert not list(parent.glob("*/*.parquet"))
    assert not list(parent.iterdir())


def test_everything_is_deleted_when_the_program_ends(spark: Any, tmp_path: Path) -> None:
    program = f"""
import os
from pyspark.sql import SparkSession
from tfpetastorm.spark import make_spark_converter
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1").getOrCreate())
spark.conf.set({CONF!r}, {tmp_path.as_uri()!r})
folder = make_spark_converter(spark.range(10)).cache_dir_url.removeprefix("file://")
if os.fork() == 0:
    raise SystemExit
os.wait()
print("there" if os.path.exists(folder) else "gone")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "there", "a process forked from it deletes nothing"
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- advice and errors


@pytest.mark.filterwarnings("default:The median size:tfpetastorm.errors.DatasetWarning")
def test_small_files_are_warned_of(spark: Any, parent: Path) -> None:
    with pytest.warns(DatasetWarning, match=r"median size of the 2 Parquet files .*coalesce\(1\)") as caught:
        make_spark_converter(spark.range(10).repartition(2))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        make_spark_converter(spark.range(10).coalesce(1))


@pytest.mark.parametrize(
    "environment",
    [
        {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "3"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "3"},
        {"PMI_RANK": "1", "PMI_SIZE": "3"},
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
            )
        },
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}
            )
        },
    ],
    ids=["horovod", "openmpi", "mpich", "tensorflow", "chief"],
)
def test_shards_that_are_not_the_ranks_are_warned_of(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    converter = SparkDatasetConverter("file:///x", ["file:///x/y"], 1)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    converter.make_tf_dataset(cur_shard=1, shard_count=3)
    for wrong in ({}, {"cur_shard": 1, "shard_count": 2}, {"cur_shard": 0, "shard_count": 3}):
        with pytest.warns(DatasetWarning, match=r"rank 1 of 3 .* give cur_shard=1, shard_count=3") as caught:
            converter.make_torch_dataloader(**wrong)  # type: ignore[arg-type]
        assert caught[0].filename == __file__


def test_one_process_needs_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "1")
    SparkDatasetConverter("file:///x", ["file:///x/y"], 1).make_tf_dataset()


def test_without_a_folder_the_error_names_the_setting(spark: Any) -> None:
    with pytest.raises(OptionError, match=f"Please set the spark config {CONF}"):
        make_spark_converter(spark.range(3))


def test_our_own_name_of_the_setting_goes_first(spark: Any, parent: Path) -> None:
    spark.conf.set(SparkDatasetConverter.CACHE_DIR_CONF, (parent / "mine").as_uri())
    try:
        assert folder_of(make_spark_converter(spark.range(3))).parent == parent / "mine"
    finally:
        spark.conf.unset(SparkDatasetConverter.CACHE_DIR_CONF)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"dtype": "float16"}, "float16 is not supported"),
        ({"compression_codec": "bzip2"}, "'zstd', not 'bzip2'"),
        ({"parquet_row_group_size_bytes": 0}, "parquet_row_group_size_bytes"),
    ],
)
def test_wrong_options_are_errors(spark: Any, parent: Path, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make_spark_converter(spark.range(3), **arguments)
    assert not list(parent.iterdir())


def test_what_is_no_dataframe_is_an_error() -> None:
    with pytest.raises(OptionError, match="takes a DataFrame of Spark"):
        make_spark_converter([1, 2])


def test_a_folder_without_a_scheme_is_an_error(spark: Any, parent: Path) -> None:
    spark.conf.set(CONF, str(parent))
    with pytest.raises(OptionError, match=f"scheme-less.* file://{parent}"):
        make_spark_converter(spark.range(3))


def test_a_folder_that_only_spark_could_reach_is_an_error(spark: Any) -> None:
    spark.conf.set(CONF, "nosuchscheme://host/folder")
    try:
        with pytest.raises(DatasetError, match="nosuchscheme://host/folder"):
            make_spark_converter(spark.range(3))
    finally:
        spark.conf.unset(CONF)


def test_arguments_of_the_reader_are_checked(spark: Any, parent: Path) -> None:
    converter = make_spark_converter(spark.range(3))
    with (
        pytest.raises(TypeError, match="unexpected keyword argument 'xyz'"),
        converter.make_torch_dataloader(xyz=1),
    ):
        pass
    with pytest.raises(OptionError, match="batch_size"):
        converter.make_tf_dataset(batch_size=0)


def test_files_that_never_appear_are_an_error(spark: Any, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter = make_spark_converter(spark.range(3).coalesce(1))
    monkeypatch.setattr(spark_dataset_converter, "_FILE_AVAILABILITY_WAIT_TIMEOUT_SECS", 0.2)
    converter.delete()
    with (
        pytest.raises(FilesNotSeenError, match=r"Timeout while waiting .*\.parquet: not there after 0.2 s"),
        converter.make_tf_dataset(),
    ):
        pass


# ---------------------------------------------------------------- structs, nulls, and what no reader has a field for


def test_vectors_that_are_null_or_lie_deeper(spark: Any, parent: Path) -> None:
    from pyspark.ml.linalg import Vectors, VectorUDT

    inner = T.StructType([T.StructField("v", VectorUDT()), T.StructField("n", T.LongType())])
    schema = T.StructType(
        [
            T.StructField("id", T.LongType(), False),
            T.StructField("v", VectorUDT()),
            T.StructField("s", inner),
            T.StructField("many", T.ArrayType(VectorUDT())),
        ]
    )
    dense, sparse = Vectors.dense(0.5, 2.0), Vectors.sparse(2, {1: 0.25})
    cells = [(0, dense, (sparse, 7), [dense, sparse]), (1, None, None, []), (2, sparse, (None, 8), None)]
    frame = spark.createDataFrame(cells, schema).coalesce(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        converter = make_spark_converter(frame, dtype=None)
    assert spark.read.parquet(converter.cache_dir_url).sort("id").select("v", "s", "many").collect() == [
        ([0.5, 2.0], ([0.0, 0.25], 7), [[0.5, 2.0], [0.0, 0.25]]),
        (None, None, []),
        ([0.0, 0.25], (None, 8), None),
    ]
    fields = ["id", "s.n"]
    with converter.make_tf_dataset(schema_fields=fields, num_epochs=1, filters=[("s.n", ">", 0)]) as dataset:
        assert [int(number) for batch in dataset for number in batch.s_n] == [7, 8]


def test_floats_in_structs_have_the_precision_that_is_asked_for(spark: Any, parent: Path) -> None:
    schema = "id long, s struct<a:double,b:array<double>,n:int>"
    frame = spark.createDataFrame([(1, (0.1, [0.3], 2)), (2, None)], schema).coalesce(1)
    with pytest.warns(DatasetWarning, match="float64 becomes float32 in 's'"):
        converter = make_spark_converter(frame)
    kind = stored(converter).field("s").type
    assert [kind.field(i).type for i in range(3)] == [
        pa.float32(),
        pa.list_(pa.field("element", pa.float32())),
        pa.int32(),
    ]
    rows = spark.read.parquet(converter.cache_dir_url).sort("id").collect()
    assert rows[0].s.a == np.float32(0.1)
    assert rows[1].s is None
    assert stored(make_spark_converter(frame, dtype=None)).field("s").type.field(0).type == pa.float64()


def test_columns_that_no_reader_has_a_field_for_are_told_of(spark: Any, parent: Path) -> None:
    schema = "id long, m map<string,int>, s struct<a:int,inner:struct<m:map<int,int>>>, l array<struct<x:int>>"
    frame = spark.createDataFrame([(1, {"a": 1}, (2, ({3: 4},)), [(5,)])], schema).coalesce(1)
    with pytest.warns(DatasetWarning, match=r"left out when the data is read: 'm', 's\.inner\.m', 'l'\.") as caught:
        converter = make_spark_converter(frame)
    assert caught[0].filename == __file__
    with converter.make_tf_dataset(num_epochs=1) as dataset:
        [batch] = dataset
    assert batch._fields == ("id", "s_a")


def test_intervals_are_read_as_numbers_and_told_of(spark: Any, parent: Path) -> None:
    frame = spark.sql("select 1 i, interval 1 day d, array(interval '1-2' year to month) m").coalesce(1)
    with pytest.warns(DatasetWarning) as caught:
        converter = make_spark_converter(frame)
    assert [str(warning.message) for warning in caught if warning.category is DatasetWarning] == [
        "Intervals are read as whole numbers of microseconds: 'd'.",
        "Intervals are read as whole numbers of months: 'm'.",
    ]
    assert caught[0].filename == __file__
    with converter.make_tf_dataset(num_epochs=1) as dataset:
        [batch] = dataset
    assert (batch.d.numpy().tolist(), batch.m.numpy().tolist()) == ([86_400_000_000], [[14]])


@pytest.mark.filterwarnings("default:The median size:tfpetastorm.errors.DatasetWarning")
def test_small_files_at_a_path_are_warned_of(spark: Any, tmp_path: Path) -> None:
    spark.range(10).repartition(3).write.parquet(str(tmp_path / "there"))
    with pytest.warns(
        DatasetWarning, match=r"median size of the 3 Parquet files .* Write them anew, in about 1\."
    ) as caught:
        make_spark_converter(tmp_path / "there")
    assert caught[0].filename == __file__


def test_a_mistaken_shard_is_told_once(spark: Any, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converter = make_spark_converter(spark.range(6).coalesce(1))
    monkeypatch.setenv("HOROVOD_RANK", "1")
    monkeypatch.setenv("HOROVOD_SIZE", "3")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with converter.make_tf_dataset(num_epochs=1) as dataset:
            assert sum(len(batch.id) for batch in dataset) == 6
    told = [warning for warning in caught if "rank 1 of 3" in str(warning.message)]
    assert [warning.filename for warning in told] == [__file__]
