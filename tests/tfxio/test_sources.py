"""What a file pattern can be, where the Unischema is found, and reading through Beam."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio.dataset_options import RecordBatchesOptions, TensorFlowDatasetOptions

import tfpetastorm as tps
from tests.tfxio.data import write
from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetWarning,
    OptionError,
    SchemaError,
    SchemaMismatchError,
    UnsafeDataError,
)
from tfpetastorm.schema.codecs import Codec, CompressedImageCodec, NdarrayCodec
from tfpetastorm.schema.codecs.base import Limits
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.metadata import ListedFile, common_metadata_bytes, dataset_pairs
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfxio import UnischemaTFXIO

GOLDEN = Path(__file__).parent.parent / "golden" / "petastorm-0.13.1"
SCHEMA = Unischema(
    "S",
    [
        Field("i", np.int64),
        Field("a", np.int16, (2,), NdarrayCodec()),
        Field("p", np.uint8, (2, 2), CompressedImageCodec("png")),
    ],
)


@dataclass(frozen=True)
class Reversed(Codec):
    codec_name: ClassVar[str] = "reversed"

    def encode(self, field: Field, value: str) -> bytes:
        return value[::-1].encode()

    def decode_cell(self, field: Field, encoded: memoryview, limits: Limits) -> str:
        return bytes(encoded).decode()[::-1]


def rows(start: int, stop: int) -> list[dict[str, Any]]:
    return [
        {"i": i, "a": np.array([i, -i], np.int16), "p": np.full((2, 2), i % 256, np.uint8)} for i in range(start, stop)
    ]


def cells(io: UnischemaTFXIO, name: str) -> list[Any]:
    options = RecordBatchesOptions(1000, num_epochs=1, shuffle=False)
    return [
        cell
        for batch in io.RecordBatches(options)
        for cell in batch.column(batch.schema.get_field_index(name)).to_pylist()
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sources") / "d", SCHEMA, rows(0, 10), 3)


def only_file(dataset: Path) -> Path:
    (file,) = dataset.glob("*.parquet")
    return file


def artifact(folder: Path, dataset: Path) -> Path:
    """Splits as TFX lays them out: bare files, the metadata above them."""
    for split in ("train", "eval"):
        (folder / f"Split-{split}").mkdir(parents=True)
        shutil.copy(only_file(dataset), folder / f"Split-{split}" / "data.parquet")
    pairs = pq.read_metadata(dataset / "_common_metadata").metadata
    key = b"tfpetastorm.unischema.v1"
    empty = pa.schema([]).with_metadata({key: pairs[key]})
    pq.ParquetWriter(folder / "_common_metadata", empty).close()
    return folder


def test_patterns(dataset: Path, tmp_path: Path) -> None:
    uri = artifact(tmp_path / "artifact", dataset)
    expected = [[i] for i in range(10)]
    for pattern in (
        dataset,
        str(dataset),
        str(only_file(dataset)),
        f"{dataset}/*",
        [f"{uri}/Split-train/*"],
        f"{uri}/Split-train",
        f"file://{uri}/Split-eval/*.parquet",
    ):
        io = UnischemaTFXIO(pattern)
        assert cells(io, "i") == expected
        assert cells(io, "a") == [[i, -i] for i in range(10)], "decoded, so the schema was found"
    assert len(cells(UnischemaTFXIO([f"{uri}/Split-train/*", f"{uri}/Split-eval/*"]), "i")) == 20


def test_the_schema_in_the_files_own_footers(dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(only_file(dataset))
    key = b"tfpetastorm.unischema.v1"
    pairs = pq.read_metadata(dataset / "_common_metadata").metadata
    for name in "xy":
        pq.write_table(table.replace_schema_metadata({key: pairs[key]}), tmp_path / f"{name}.parquet")
    assert cells(UnischemaTFXIO(f"{tmp_path}/*"), "a") == [[i, -i] for i in range(10)] * 2


def test_plain_parquet(tmp_path: Path) -> None:
    struct = pa.array([{"x": 1, "y": {"z": b"q"}}, {"x": 2, "y": {"z": b""}}])
    spans = pa.array([1, 2], pa.duration("s"))
    table = pa.table({"t": ["", None], "n": pa.array([0, 1], pa.uint32()), "l": [[0.0], None], "s": struct, "d": spans})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.warns(DatasetWarning, match="column d is left out"):
        io = UnischemaTFXIO(tmp_path)
    (batch,) = io.RecordBatches(RecordBatchesOptions(9, num_epochs=1, shuffle=False))
    assert batch.to_pydict() == {
        "t": [[b""], None],
        "n": [[0], [1]],
        "l": [[0.0], None],
        "s.x": [[1], [2]],
        "s.y.z": [[b"q"], [b""]],
    }
    proto = unischema_to_schema(Unischema("S", [Field("d", np.int64)]))
    with pytest.raises(tps.TfpetastormError, match=r"field 'd'.*a column of a type that no field has"):
        UnischemaTFXIO(tmp_path, schema=proto)
    pq.write_table(table.select(["d"]), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"no column of .*column d is left out: "):
        UnischemaTFXIO(tmp_path)


def test_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "a", "b"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert cells(UnischemaTFXIO(tmp_path, column_names=["b"]), "b") == [[3]]
    with pytest.raises(SchemaError, match=r"Several columns have one name \(field 'a', file .*x\.parquet"):
        cells(UnischemaTFXIO(tmp_path), "a")


def test_damage_is_named_and_the_remedy_tells_who_can_skip_it(tmp_path: Path) -> None:
    path = next(write(tmp_path / "d", SCHEMA, rows(0, 6)).glob("*.parquet"))
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 12] = b"\xff" * 12
    path.write_bytes(content)
    io = UnischemaTFXIO(tmp_path / "d")
    where = rf"{path.name}, row group 1\).*; make_dataset and ParquetDataset can skip what is damaged: on_error="
    with pytest.raises(DatasetError, match=where):
        cells(io, "i")
    with pytest.raises(tf.errors.OpError, match=where):
        list(io.TensorFlowDataset(TensorFlowDatasetOptions(2, num_epochs=1)))
    with pytest.raises(DatasetError, match=where), beam.Pipeline() as pipeline:
        pipeline | io.BeamSource()
    path.write_bytes(bytes(content[:-9]))
    with pytest.raises(DatasetError, match=rf"{path.name}\)\. Restore or remove the file; make_dataset"):
        UnischemaTFXIO(tmp_path / "d")


def test_nothing_in_the_data_is_unpickled(tmp_path: Path) -> None:
    planted = pickle.dumps(_Planted(tmp_path / "run"))
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"i": [1]}), tmp_path / "d" / "x.parquet")
    names = {b"dataset-toolkit.unischema.v1": planted}
    pq.write_metadata(pa.schema([("i", pa.int64())], names), tmp_path / "d" / "_common_metadata")
    with pytest.raises(UnsafeDataError, match="_common_metadata"):
        UnischemaTFXIO(tmp_path / "d")
    schema = Unischema("S", [Field("a", np.float32, (None,), NdarrayCodec())])
    path = next(write(tmp_path / "e", schema, [{"a": np.zeros(2, np.float32)}]).glob("*.parquet"))
    cell = io_bytes(np.array([_Planted(tmp_path / "run")], object))
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, table.field(0), pa.array([cell], table.field(0).type)), path)
    with pytest.raises(UnsafeDataError, match=r"field 'a'.*row group 0, row 0"):
        cells(UnischemaTFXIO(tmp_path / "e"), "a")
    assert not (tmp_path / "run").exists()


class _Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._folder),)


def io_bytes(array: Any) -> bytes:
    """An array as the bytes of an `.npy` file."""
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_worker_processes_read_every_row_once(tmp_path: Path) -> None:
    given = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    source = UnischemaTFXIO(write(tmp_path / "d", SCHEMA, rows(0, 20)), column_names=["i", "a"]).BeamSource()
    with beam.Pipeline(options=given) as pipeline:
        found = pipeline | source | "rows" >> beam.FlatMap(_pairs) | "text" >> beam.Map(str)
        found | beam.io.WriteToText(str(tmp_path / "rows"))
    lines = [line for path in tmp_path.glob("rows-*") for line in path.read_text().split("\n") if line]
    assert sorted(lines) == sorted(str((i, [i, -i])) for i in range(20))


def _pairs(batch: pa.RecordBatch) -> list[tuple[int, list[int]]]:
    columns = batch.to_pydict()
    return [(i, a) for (i,), a in zip(columns["i"], columns["a"], strict=True)]


def test_partitions_of_folders(tmp_path: Path) -> None:
    schema = Unischema("S", [Field("i", np.int64), Field("year", np.int16), Field("city", np.str_)])
    with tps.DatasetWriter(tmp_path / "d", schema, partition_by=["year", "city"]) as writer:
        for i in range(6):
            writer.write({"i": i, "year": 2020 + i % 2, "city": f"c {i % 3}"})
    io = UnischemaTFXIO(tmp_path / "d")
    assert sorted(zip(cells(io, "i"), cells(io, "year"), cells(io, "city"), strict=True)) == [
        ([i], [2020 + i % 2], [f"c {i % 3}".encode()]) for i in range(6)
    ]
    (element,) = io.TensorFlowDataset(TensorFlowDatasetOptions(9, num_epochs=1))
    assert sorted(element["year"].numpy().tolist()) == [2020] * 3 + [2021] * 3


def test_petastorms_datasets_and_the_images_in_them() -> None:
    """The schema is petastorm's pickle, read symbolically."""
    folder = GOLDEN / "drive_small"
    stored = tps.open_dataset(folder)
    io = UnischemaTFXIO(folder)
    assert io.ArrowSchema().names == list(stored.schema.fields)
    table = pa.Table.from_batches(io.RecordBatches(RecordBatchesOptions(64, num_epochs=1, shuffle=False)))
    assert table.num_rows == stored.num_rows
    images = [field.name for field in stored.schema if isinstance(field.codec, CompressedImageCodec)]
    assert images
    for name in images:
        (first,) = table.column(name)[0].as_py()
        assert first[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    options = TensorFlowDatasetOptions(16, num_epochs=1)
    assert sum(int(batch[images[0]].shape[0]) for batch in io.TensorFlowDataset(options)) == stored.num_rows


def all_by_beam(io: UnischemaTFXIO) -> None:
    with beam.Pipeline() as pipeline:
        count = pipeline | io.BeamSource() | beam.Map(lambda batch: batch.num_rows) | beam.CombineGlobally(sum)
        assert_that(count, equal_to([10]))


def test_filesystems_given(dataset: Path) -> None:
    filesystem = pafs.SubTreeFileSystem(str(dataset.parent), pafs.LocalFileSystem())
    for io in (
        UnischemaTFXIO("d", filesystem=filesystem),
        UnischemaTFXIO(["d/*"], filesystem=filesystem, validate=False),
    ):
        all_by_beam(io)
        assert cells(io, "a")[3] == [3, -3]


def test_stores(dataset: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.put(f"{dataset}/", "/tfxio-test/", recursive=True)
    io = UnischemaTFXIO("memory://tfxio-test/*.parquet")
    assert cells(io, "a")[3] == [3, -3]
    # Beam's workers may be other processes. What it reads from S3 is looked at in tests/object_store.
    with pytest.raises(TypeError, match="memory of one process"):
        all_by_beam(io)
    memory.rm("/tfxio-test", recursive=True)


def test_batches_of_beam(dataset: Path) -> None:
    io = pickle.loads(pickle.dumps(UnischemaTFXIO(dataset, telemetry_descriptors=["test"])))
    pipeline = beam.Pipeline()
    sizes = pipeline | "Four" >> io.BeamSource(2) | beam.Map(lambda batch: batch.num_rows)
    assert_that(sizes, equal_to([2, 1] * 3 + [1]))
    images = pipeline | "All" >> io.BeamSource() | beam.FlatMap(lambda batch: batch.column(2).to_pylist())
    stored = pq.read_table(only_file(dataset)).column("p").to_pylist()
    assert_that(images, equal_to([[cell] for cell in stored]), label="images")
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(
        beam.metrics.MetricsFilter().with_name("LogicalFormat[parquet]-PhysicalFormat[parquet]-num_rows")
    )
    assert sorted((one.committed.count, one.committed.sum) for one in found["distributions"]) == [(4, 10), (7, 10)]
    assert {one.key.metric.namespace for one in found["distributions"]} == {"tfx.test.io"}


def test_files_are_looked_for_when_the_pipeline_runs(dataset: Path, tmp_path: Path) -> None:
    proto = unischema_to_schema(SCHEMA)
    with pytest.raises(DatasetError):
        UnischemaTFXIO(tmp_path / "d", schema=proto)
    io = UnischemaTFXIO(tmp_path / "d", schema=proto, validate=False)
    assert io.ArrowSchema() == UnischemaTFXIO(dataset).ArrowSchema()
    assert io.TensorAdapter().TypeSpecs() == UnischemaTFXIO(dataset).TensorAdapter().TypeSpecs()
    pipeline = beam.Pipeline()
    numbers = pipeline | io.Project(["i"]).BeamSource() | beam.FlatMap(lambda batch: batch.column(0).to_pylist())
    assert_that(numbers, equal_to([[i] for i in range(10)]))
    shutil.copytree(dataset, tmp_path / "d")
    pipeline.run().wait_until_finish()
    assert len(cells(io, "i")) == 10


def test_no_rows(tmp_path: Path) -> None:
    io = UnischemaTFXIO(write(tmp_path / "d", SCHEMA, []))
    assert cells(io, "i") == []
    dataset = io.TensorFlowDataset(TensorFlowDatasetOptions(4, label_key="i"))
    features, label = dataset.element_spec
    assert {**features, "i": label} == io.TensorAdapter().TypeSpecs()
    assert list(dataset) == []
    with beam.Pipeline() as pipeline:
        assert_that(pipeline | io.BeamSource(), equal_to([]))


def test_options(dataset: Path) -> None:
    io = UnischemaTFXIO(dataset)
    endless = io.TensorFlowDataset(TensorFlowDatasetOptions(4, shuffle=False, label_key="i"))
    sizes = [label.shape[0] for _, label in endless.take(7)]
    assert sizes == [4, 4, 2, 4, 4, 2, 4]
    assert endless.cardinality().numpy() == -1
    batches = io.RecordBatches(RecordBatchesOptions(4, drop_final_batch=True))
    assert [next(batches).num_rows for _ in range(5)] == [4] * 5
    dropped = io.TensorFlowDataset(TensorFlowDatasetOptions(4, True, 2, sloppy_ordering=True, reader_num_threads=1))
    assert dropped.cardinality().numpy() == 4
    assert not dropped.options().deterministic
    for options in (
        TensorFlowDatasetOptions(0),
        TensorFlowDatasetOptions(4, label_key="no"),
        TensorFlowDatasetOptions(4, shuffle_buffer_size=0),
    ):
        with pytest.raises(OptionError):
            io.TensorFlowDataset(options)
    for size in (0, 2.5, "7", True):
        with pytest.raises(OptionError, match="batch_size is a whole number"):
            io.BeamSource(size)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="column_names is a list of names, not the text 'i'"):
        UnischemaTFXIO(dataset, column_names="i")
    for empty in (UnischemaTFXIO(dataset, column_names=[]), UnischemaTFXIO(dataset, schema=schema_pb2.Schema())):
        with pytest.raises(OptionError, match="no tensor to make"):
            empty.TensorFlowDataset(TensorFlowDatasetOptions(2))
    with pytest.raises(OptionError, match="schema is"):
        UnischemaTFXIO(dataset, schema=SCHEMA)


@pytest.mark.parametrize("epochs", [1, None])
def test_fewer_rows_than_a_batch_that_is_dropped_are_none(dataset: Path, epochs: int | None) -> None:
    io = UnischemaTFXIO(dataset)
    made = io.TensorFlowDataset(TensorFlowDatasetOptions(11, True, epochs))
    assert made.element_spec == io.TensorAdapter().TypeSpecs()
    assert list(made) == list(io.RecordBatches(RecordBatchesOptions(11, True, epochs))) == []


def test_own_codecs(tmp_path: Path) -> None:
    """Decoded where the class is given, else the bytes that are stored; a proto that knew it says so."""
    schema = Unischema("S", [Field("word", np.str_, (), Reversed())])
    write(tmp_path / "d", schema, [{"word": "ab"}, {"word": "c"}])
    assert cells(UnischemaTFXIO(tmp_path / "d", codecs=[Reversed]), "word") == [[b"ab"], [b"c"]]
    assert cells(UnischemaTFXIO(tmp_path / "d"), "word") == [[b"ba"], [b"c"]]
    proto = unischema_to_schema(Unischema("S", [Field("word", np.int8, (2,))]))
    with pytest.raises(SchemaMismatchError, match="reversed, with codecs="):
        UnischemaTFXIO(tmp_path / "d", schema=proto)
    io = UnischemaTFXIO(tmp_path / "d", codecs=[Reversed])
    with beam.Pipeline() as pipeline:
        words = pipeline | io.BeamSource() | beam.FlatMap(lambda batch: batch.column(0).to_pylist())
        assert_that(words, equal_to([[b"ab"], [b"c"]]))


def test_a_file_that_is_not_the_one_committed_is_refused(tmp_path: Path) -> None:
    schema = Unischema("S", [Field("i", np.int64)])
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        writer.write_batch({"i": np.arange(5)})
    (file,) = (tmp_path / "d").glob("*.parquet")
    pq.write_table(pq.read_table(file).slice(0, 3), file)
    with pytest.raises(DatasetError, match=r"rows that the dataset's metadata lists .*expected 5, found 3"):
        UnischemaTFXIO(tmp_path / "d")


WORDS = Unischema("S", [Field("i", np.int64), Field("words", np.str_, (None,), NdarrayCodec())])


def words(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"i": i, "words": np.array(["a", "b", "c"][: i % 4], np.str_)} for i in range(start, stop)]


def committed(folder: Path, schema: Unischema, *splits: list[dict[str, Any]]) -> Path:
    """An artifact whose metadata lists the files of its splits, `Split-0` and so on."""
    files = {}
    for number, given in enumerate(splits):
        dataset = write(folder / "written" / str(number), schema, given)
        (folder / f"Split-{number}").mkdir()
        for path in dataset.glob("*.parquet"):
            name = f"Split-{number}/{path.name}"
            footer = pq.read_metadata(path.rename(folder / name))
            files[name] = ListedFile(footer.num_row_groups, footer.num_rows)
    shutil.rmtree(folder / "written")
    pairs = dataset_pairs(schema, files, petastorm=False)
    content = common_metadata_bytes(schema.as_arrow_schema(), pairs)
    (folder / "_common_metadata").write_bytes(content)
    return folder


def test_several_artifacts_have_the_schema_that_is_above_each(tmp_path: Path) -> None:
    """As rolling spans have it; a text array's own bytes would pass for a text."""
    one, two = (committed(tmp_path / f"span {n}", WORDS, words(n * 5, n * 5 + 5), words(0, 1)) for n in (1, 2))
    for patterns in (
        [f"{one}/Split-0/*", f"{two}/Split-0/*"],
        [f"{one}/Split-0", f"{two}/Split-0/*.parquet"],
        f"{tmp_path}/span */Split-0/*",
    ):
        io = UnischemaTFXIO(patterns, schema=unischema_to_schema(WORDS))
        assert cells(io, "i") == [[i] for i in range(5, 15)]
        assert cells(io, "words") == [[b"a", b"b", b"c"][: i % 4] for i in range(5, 15)]
    assert len(cells(UnischemaTFXIO(f"{one}/*"), "words")) == 6, "of folders of one artifact"
    other = Unischema("S", [WORDS.i, Field("words", np.str_, (None,))])
    differs = committed(tmp_path / "differs", other, words(0, 2))
    with pytest.raises(SchemaMismatchError, match=r"differs/.* and .*span 1/.* have different schemas"):
        UnischemaTFXIO([f"{one}/Split-0/*", f"{differs}/Split-0/*"])
    (two / "_common_metadata").unlink()
    with pytest.raises(SchemaMismatchError, match=r"others have none \(file .*span 2.*a Unischema, as .*span 1"):
        UnischemaTFXIO([f"{one}/Split-0/*", f"{two}/Split-0/*"])


def test_files_of_a_split_are_held_against_the_artifacts_list(tmp_path: Path) -> None:
    folder = committed(tmp_path / "a", WORDS, words(0, 5), words(0, 3))
    (file,) = (folder / "Split-0").iterdir()
    patterns = [f"{folder}/Split-0/*", f"{folder}/Split-0", [f"{folder}/Split-0/*", f"{folder}/Split-1/*"]]
    extra = file.with_name("zz.parquet")
    shutil.copy(file, extra)
    for pattern in patterns:
        with pytest.warns(DatasetWarning, match=r"not in the dataset's committed list and are left out: Split-0/zz"):
            assert cells(UnischemaTFXIO(pattern), "i")[:5] == [[i] for i in range(5)]
    assert len(cells(UnischemaTFXIO([str(file), str(extra)]), "i")) == 10, "what was asked for by name"
    file.rename(folder / "kept")
    for pattern in patterns:
        with pytest.raises(DamagedDataError, match=rf"a file of the dataset is missing \(file {file}\)"):
            UnischemaTFXIO(pattern)
    extra.unlink()
    assert len(cells(UnischemaTFXIO(f"{folder}/Split-1/*"), "i")) == 3, "others were not asked for"
    pq.write_table(pq.read_table(folder / "kept").slice(0, 4), file, row_group_size=2)
    for pattern in patterns:
        with pytest.raises(DatasetError, match=r"row groups that the dataset's metadata lists .*expected 3, found 2"):
            UnischemaTFXIO(pattern)
    (folder / "Split-2").mkdir()
    shutil.copy(folder / "kept", folder / "Split-2" / "x.parquet")
    with pytest.raises(DatasetError, match=r"none of the files is in the dataset's committed list .*Split-2/x"):
        UnischemaTFXIO(f"{folder}/Split-2/*")


@pytest.mark.parametrize("name", ["a?b", "a[1]b", "a*b"])
def test_the_folder_of_an_artifact_is_no_pattern(tmp_path: Path, name: str) -> None:
    folder = committed(tmp_path / name, WORDS, words(0, 3))
    for other in ("a1b", "a b", "a#b"):
        committed(tmp_path / other, WORDS, words(5, 6))
    assert cells(UnischemaTFXIO([f"{folder}/Split-0/*"]), "i") == [[0], [1], [2]]
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    assert cells(UnischemaTFXIO(f"{name}/Split-0/*", filesystem=filesystem), "i") == [[0], [1], [2]]
