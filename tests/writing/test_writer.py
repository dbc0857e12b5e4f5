"""What a writer takes, refuses and leaves on disk."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import GOLDEN, SCHEMA, ids_of, plain, row, write
from tfpetastorm.errors import DatasetError, DatasetWarning, EncodeError, OptionError, SchemaMismatchError
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.writing.commit import Commit

WIDE = tps.Unischema(
    "Wide",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("name", np.str_, (), None, True),
        tps.UnischemaField("image", np.uint8, (None, None, 3), tps.CompressedImageCodec("png")),
        tps.UnischemaField("packed", np.float32, (None,), tps.CompressedNdarrayCodec(), True),
        tps.UnischemaField("vector", np.float32, (2,), tps.TensorCodec()),
        tps.UnischemaField("items", np.int16, (None,), None, True),
        tps.UnischemaField("part", np.str_),
    ],
)


def wide_row(i: int) -> dict[str, Any]:
    return {
        "id": i,
        "name": None if i % 2 else f"n{i}",
        "image": np.full((i % 3 + 1, 2, 3), i % 256, np.uint8),
        "packed": None if i % 3 == 0 else np.arange(i % 5, dtype=np.float32),
        "vector": np.array([i, -i], np.float32),
        "items": None if i % 4 == 0 else [i] * (i % 3),
        "part": f"p{i % 2}",
    }


def read_back(path: Path) -> dict[int, dict[str, Any]]:
    """All rows by id, decoded column by column."""
    dataset = tps.open_dataset(path)

    def bad(row: int, reason: str) -> None:
        raise AssertionError(f"{row}: {reason}")

    rows: dict[int, dict[str, Any]] = {}
    for i, file in enumerate(dataset.files):
        table = pq.read_table(file.path, partitioning=None)
        ids = table.column("id").to_pylist()
        for key in ids:
            rows[key] = {name: values[i] for name, values in dataset.partition_fields.items()}
        for name in table.column_names:
            field = dataset.schema.fields[name]
            stored = table.column(name)
            column = decode_column(field, stored, bad)
            for j, key in enumerate(ids):
                valid = column.valid is None or column.valid[j]
                rows[key][name] = _cell(column, j) if valid else None
    return rows


def _cell(column: Any, j: int) -> Any:
    values = column.values
    if hasattr(values, "offsets"):
        code = j if values.codes is None else values.codes[j]
        return bytes(values.data[values.offsets[code] : values.offsets[code + 1]]).decode()
    start, stop = j, j + 1
    for splits in column.splits:
        start, stop = splits[start], splits[stop]
    return values[start:stop].reshape(-1).tolist() if column.splits or column.inner else values[j].item()


def flat(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: np.asarray(cell).reshape(-1).tolist() if isinstance(cell, (np.ndarray, list)) else cell
        for name, cell in row.items()
    }


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_rows_come_back(tmp_path: Path, workers: int) -> None:
    with tps.DatasetWriter(tmp_path, WIDE, partition_by=["part"], row_group_rows=7, workers=workers) as writer:
        for i in range(50):
            writer.write(wide_row(i))
        assert writer.rows_written == 50
    assert read_back(tmp_path) == {i: flat(wide_row(i)) for i in range(50)}


def test_threads_change_nothing(tmp_path: Path) -> None:
    stored = []
    for workers in (0, 4):
        path = tmp_path / str(workers)
        with tps.DatasetWriter(path, WIDE, row_group_size_mb=0.002, workers=workers) as writer:
            for i in range(300):
                writer.write(wide_row(i))
            writer.write_batch({name: [wide_row(i)[name] for i in range(300, 600)] for name in WIDE.fields})
        dataset = tps.open_dataset(path)
        stored.append([(g.rows, g.bytes) for g in dataset.row_groups])
        assert ids_of(path) == list(range(600))
    assert stored[0] == stored[1]
    assert len(stored[0]) > 5


@given(
    st.lists(st.one_of(st.integers(0, 9), st.integers(0, 40).map(lambda n: -n)), max_size=6),
    st.one_of(st.none(), st.integers(1, 7)),
    st.one_of(st.none(), st.integers(1, 12)),
    st.booleans(),
)
def test_any_mix_of_rows_and_batches(
    tmp_path_factory: pytest.TempPathFactory, calls: list[int], group: int | None, file: int | None, parts: bool
) -> None:
    """Positive numbers are single rows, negative ones batches."""
    path = tmp_path_factory.mktemp("mix")
    options: dict[str, Any] = {"row_group_rows": group, "file_rows": file, "row_group_size_mb": 0.0005}
    done = 0
    with tps.DatasetWriter(path, WIDE, partition_by=["part"] if parts else [], workers=0, **options) as writer:
        for count in calls:
            rows = [wide_row(i) for i in range(done, done + abs(count))]
            done += len(rows)
            if count < 0:
                writer.write_batch({name: [one[name] for one in rows] for name in WIDE.fields})
            else:
                for one in rows:
                    writer.write(one)
    dataset = tps.open_dataset(path)
    assert dataset.num_rows == done
    if not parts:
        assert ids_of(path) == list(range(done))
    assert read_back(path) == {i: flat(wide_row(i)) for i in range(done)}
    for i in range(len(dataset.files)):
        groups = [g.rows for g in dataset.row_groups if g.file_index == i]
        assert file is None or sum(groups) <= file
        if group is not None and file is None:
            assert groups[:-1] == [group] * (len(groups) - 1)
            assert 0 < groups[-1] <= group


def test_row_groups_by_bytes(tmp_path: Path) -> None:
    schema = tps.Unischema(
        "B", [tps.UnischemaField("id", np.int64), tps.UnischemaField("v", np.float64, (128,), tps.TensorCodec())]
    )
    with tps.DatasetWriter(tmp_path, schema, row_group_size_mb=1) as writer:
        writer.write_batch({"id": np.arange(10_000), "v": np.random.default_rng(0).random((10_000, 128))})
    sizes = [g.bytes for g in tps.open_dataset(tmp_path).row_groups]
    assert all(2**20 <= size < 1.5 * 2**20 for size in sizes[:-1])
    assert len(sizes) in (8, 9, 10)


def test_files_by_bytes(tmp_path: Path) -> None:
    schema = tps.Unischema("B", [tps.UnischemaField("v", np.float64)])
    with tps.DatasetWriter(tmp_path, schema, row_group_size_mb=0.1, file_size_mb=0.5) as writer:
        writer.write_batch({"v": np.random.default_rng(0).random(500_000)})
    sizes = [file.size for file in tps.open_dataset(tmp_path).files]
    assert all(0.5 * 2**20 <= size < 0.75 * 2**20 for size in sizes[:-1])
    assert len(sizes) > 5


def test_arrow_tables_and_arrays_are_taken(tmp_path: Path) -> None:
    schema = tps.Unischema("A", [tps.UnischemaField("id", np.int64), tps.UnischemaField("s", np.str_, (), None, True)])
    with tps.DatasetWriter(tmp_path, schema) as writer:
        writer.write_batch(pa.table({"id": pa.chunked_array([[1], [2, 3]]), "s": ["a", None, "c"]}))
        writer.write_batch(pa.RecordBatch.from_pydict({"id": pa.array([4], pa.int32())}))
        writer.write_batch({"id": iter([5, 6]), "s": ("x", None)})
        writer.write_batch({"id": []})
    (file,) = tps.open_dataset(tmp_path).files
    assert pq.read_table(file.path).to_pydict() == {"id": [1, 2, 3, 4, 5, 6], "s": ["a", None, "c", None, "x", None]}


def test_arrays_may_be_used_again_at_once(tmp_path: Path) -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    column = np.zeros(3, np.int64)
    schema = WIDE.create_schema_view(["id", "image"])
    with tps.DatasetWriter(tmp_path, schema) as writer:
        for i in range(5):
            frame[:] = i
            writer.write({"id": i, "image": frame})
        for i in range(2):
            column[:] = [5 + 3 * i, 6 + 3 * i, 7 + 3 * i]
            frame[:] = 9 + i
            writer.write_batch({"id": column, "image": [frame] * 3})
        frame[:] = 255
        column[:] = -1
    rows = read_back(tmp_path)
    assert sorted(rows) == list(range(11))
    assert [rows[i]["image"][0] for i in range(11)] == [0, 1, 2, 3, 4, 9, 9, 9, 10, 10, 10]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0), {**row(1), "extra": 1}], "row 1, |'extra'.*row 1"),
        ([row(0), {"id": 1}], r"'points'.*row 1.*nullable=True"),
        ([row(0), {**row(1), "id": None}], r"'id'.*row 1"),
        ([row(0), row(1), {**row(2), "id": "two"}], r"'id', row 2\).*int64"),
        ([row(0), row(1), {**row(2), "id": 2**70}], r"'id'.*row 2"),
        (
            [row(0), {**row(1), "points": np.zeros((2, 3), np.float32)}],
            r"'points', row 1\): expected .*found .*\(2, 3\)",
        ),
        ([row(0), {**row(1), "points": np.zeros((2, 2), np.float64)}], r"'points', row 1\): expected float32.*float64"),
        ([row(0), {**row(1), "name": 5}], r"'name', row 1\)"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_value_that_does_not_match(tmp_path: Path, rows: list[dict[str, Any]], said: str, workers: int) -> None:
    write(tmp_path, range(5))
    with (
        pytest.raises(EncodeError, match=said),
        tps.DatasetWriter(tmp_path, SCHEMA, mode="append", workers=workers) as writer,
    ):
        for one in rows:
            writer.write(one)
    assert ids_of(tmp_path) == list(range(5))
    assert len(list(tmp_path.iterdir())) == 2


def test_errors_in_batches_name_row_and_batch(tmp_path: Path) -> None:
    names: list[Any] = ["x"] * 100_000
    names[99_000] = 7
    schema = tps.Unischema("A", [tps.UnischemaField("s", np.str_)])
    with pytest.raises(EncodeError, match=r"'s', row 99000\)"), tps.DatasetWriter(tmp_path, schema) as writer:
        writer.write_batch({"s": names})
    with (
        pytest.raises(EncodeError, match=r"'s', row 99000 of batch 2\)"),
        tps.DatasetWriter(tmp_path, schema) as writer,
    ):
        writer.write_batch({"s": ["a"]})
        writer.write_batch({"s": ["b"]})
        writer.write_batch({"s": names})
    with pytest.raises(EncodeError, match="differ in length"), tps.DatasetWriter(tmp_path, SCHEMA) as writer:
        writer.write_batch({"id": [1, 2], "points": [np.zeros((0, 2), np.float32)]})
    with pytest.raises(EncodeError, match=r"no sequence.*'s'"), tps.DatasetWriter(tmp_path, schema) as writer:
        writer.write_batch({"s": 3})
    assert not list(tmp_path.iterdir())


def test_an_exception_drops_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError), tps.DatasetWriter(tmp_path / "new", SCHEMA, row_group_rows=1) as writer:
        writer.write(row(0))
        raise KeyError
    assert not (tmp_path / "new").exists()
    write(tmp_path / "old", range(5))
    before = sorted(tmp_path.rglob("*"))
    for mode in ("append", "overwrite"):
        with (
            pytest.raises(KeyError),
            tps.DatasetWriter(tmp_path / "old", SCHEMA, mode=mode, row_group_rows=1) as writer,
        ):
            writer.write(row(9))
            raise KeyError
        assert sorted(tmp_path.rglob("*")) == before
    assert ids_of(tmp_path / "old") == list(range(5))


def test_nothing_can_be_written_afterwards(tmp_path: Path) -> None:
    writer = tps.DatasetWriter(tmp_path, SCHEMA)
    writer.write(row(1))
    writer.close()
    writer.close()
    with pytest.raises(DatasetError, match="closed"):
        writer.write(row(2))
    with pytest.raises(DatasetError, match="closed"):
        writer.write_batch({})
    assert ids_of(tmp_path) == [1]


def test_a_dataset_is_not_written_over_by_accident(tmp_path: Path) -> None:
    write(tmp_path / "a", range(3))
    plain(tmp_path / "b/x.parquet", id=[1])
    for path in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(DatasetError, match=r"mode='append' or mode='overwrite'"):
            tps.DatasetWriter(path, SCHEMA)
    assert ids_of(tmp_path / "a") == [0, 1, 2]
    (tmp_path / "c").mkdir()
    (tmp_path / "c/notes.txt").write_text("mine")
    write(tmp_path / "c", range(3))
    write(tmp_path / "c", range(3), mode="overwrite")
    assert (tmp_path / "c/notes.txt").read_text() == "mine"
    (tmp_path / "d").mkdir()
    (tmp_path / "d/Makefile").write_text("mine")
    (tmp_path / "d/old").write_bytes((tmp_path / "b/x.parquet").read_bytes())
    write(tmp_path / "d", range(3), mode="overwrite")
    assert sorted(path.name[:4] for path in (tmp_path / "d").iterdir()) == ["Make", "_com", "part"]


def test_append_keeps_order_and_numbering(tmp_path: Path) -> None:
    write(tmp_path, range(10), file_rows=4)
    for start in range(10, 40, 10):
        write(tmp_path, range(start, start + 10), mode="append", file_rows=4)
    assert ids_of(tmp_path) == list(range(40))
    with tps.DatasetWriter(tmp_path, None, mode="append") as writer:
        assert writer.schema == SCHEMA
        writer.write(row(40))
    assert ids_of(tmp_path) == list(range(41))


def test_append_needs_the_same_schema_and_folders(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    other = tps.Unischema("Small", [tps.UnischemaField("id", np.int32), *list(SCHEMA)[1:]])
    with pytest.raises(SchemaMismatchError, match=r"'id'.*expected id: int64, found id: int32"):
        tps.DatasetWriter(tmp_path, other, mode="append")
    fewer = SCHEMA.create_schema_view(["id", "name"])
    with pytest.raises(SchemaMismatchError, match=r"'points'.*no such field"):
        tps.DatasetWriter(tmp_path, fewer, mode="append")
    with pytest.raises(SchemaMismatchError, match="partitioned otherwise"):
        tps.DatasetWriter(tmp_path, SCHEMA, mode="append", partition_by=["name"])
    plain(tmp_path / "plain/x.parquet", id=[1])
    with pytest.raises(DatasetError, match="without a Unischema"):
        tps.DatasetWriter(tmp_path / "plain", SCHEMA, mode="append")
    assert ids_of(tmp_path / "plain") == [1]


def test_append_to_nothing_is_a_new_dataset(tmp_path: Path) -> None:
    write(tmp_path / "new", range(3), mode="append")
    assert ids_of(tmp_path / "new") == [0, 1, 2]
    with pytest.raises(OptionError, match="schema=None"):
        tps.DatasetWriter(tmp_path / "newer", None, mode="append")


def test_append_to_petastorms_own(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(GOLDEN / "petastorm-0.13.1/drive_small", tmp_path / "d")
    (tmp_path / "d/._common_metadata.crc").write_bytes(b"old checksum")
    with tps.DatasetWriter(tmp_path / "d", None, mode="append") as writer:
        names = list(writer.schema.fields)
        writer.write({
            "run_id": "r", "timestamp": 5, "speed": np.float32(1), "imu": np.zeros(6, np.float32),
            "camera": np.zeros((6, 8, 3), np.uint8), "label": None,
        })  # fmt: skip
    dataset = tps.open_dataset(tmp_path / "d")
    assert (dataset.num_rows, list(dataset.schema.fields)) == (121, names)
    assert not (tmp_path / "d/._common_metadata.crc").exists()
    pairs = pq.read_metadata(tmp_path / "d/_common_metadata").metadata
    assert b"org.apache.spark.sql.parquet.row.metadata" in pairs


def test_overwrite_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    with tps.DatasetWriter(tmp_path, WIDE, partition_by=["part"]) as writer:
        writer.write_batch({name: [wide_row(i)[name] for i in range(10)] for name in WIDE.fields})
    (tmp_path / "_metadata").write_bytes(b"a summary of old row groups")
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, range(3), mode="overwrite")
    assert ids_of(tmp_path) == [0, 1, 2]
    assert tps.open_dataset(tmp_path).schema == SCHEMA
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left[0] == "_common_metadata"
    assert left[1] == "notes.txt"
    assert len(left) == 3


def test_overwriting_plain_parquet(tmp_path: Path) -> None:
    plain(tmp_path / "x=1/a.parquet", id=[1])
    plain(tmp_path / "x=2/b.parquet", id=[2])
    with pytest.raises(KeyError), tps.DatasetWriter(tmp_path, SCHEMA, mode="overwrite") as writer:
        writer.write(row(0))
        raise KeyError
    assert tps.open_dataset(tmp_path).kind == "parquet"
    assert not (tmp_path / "_common_metadata").exists()
    write(tmp_path, range(3), mode="overwrite")
    assert ids_of(tmp_path) == [0, 1, 2]
    assert not (tmp_path / "x=1").exists()


def test_two_writers_at_once(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    first = tps.DatasetWriter(tmp_path, SCHEMA, mode="append")
    second = tps.DatasetWriter(tmp_path, SCHEMA, mode="append")
    first.write(row(3))
    second.write(row(4))
    second.close()
    with pytest.raises(DatasetError, match="another writer"):
        first.close()
    assert ids_of(tmp_path) == [0, 1, 2, 4]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("store", [False, True], ids=["local", "store"])
def test_two_writers_that_commit_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: bool) -> None:
    place = {"url": "at-once", "filesystem": MemoryFileSystem()} if store else {"url": tmp_path}
    with tps.DatasetWriter(**place, schema=SCHEMA) as writer:
        writer.write(row(0))
    first = tps.DatasetWriter(**place, schema=SCHEMA, mode="append")
    second = tps.DatasetWriter(**place, schema=SCHEMA, mode="append")
    first.write(row(1))
    second.write(row(2))
    told: list[str] = []

    def close(writer: tps.DatasetWriter, name: str) -> None:
        with contextlib.suppress(DatasetError):
            writer.close()
            told.append(name)

    other = threading.Thread(target=close, args=(second, "second"))
    publish = Commit._publish

    def published(commit: Commit, old: list[str]) -> None:
        # The first has made sure that it is alone.
        if commit is first._transaction.commit:
            other.start()
            other.join(0.3)
        publish(commit, old)

    monkeypatch.setattr(Commit, "_publish", published)
    close(first, "first")
    other.join()
    assert told == ["first"]
    assert ids_of(place["url"], filesystem=place.get("filesystem")) == [0, 1]


def test_two_writers_of_one_new_dataset(tmp_path: Path) -> None:
    first = tps.DatasetWriter(tmp_path, SCHEMA)
    first.write(row(3))
    with pytest.raises(DatasetError, match="never finished"):
        tps.open_dataset(tmp_path)
    second = tps.DatasetWriter(tmp_path, SCHEMA)
    second.write(row(4))
    with pytest.raises(DatasetError, match="another writer"):
        first.close()
    second.close()
    assert ids_of(tmp_path) == [4]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="file"):
        tps.DatasetWriter(tmp_path / "file/below", SCHEMA)


def test_compression_and_encodings_by_column(tmp_path: Path) -> None:
    schema = tps.Unischema("E", [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("few", np.int64),
        tps.UnischemaField("unique", np.float64),
        tps.UnischemaField("words", np.str_),
        tps.UnischemaField("items", np.int32, (None,)),
        tps.UnischemaField("image", np.uint8, (2, 2), tps.CompressedImageCodec("png")),
        tps.UnischemaField("array", np.float32, (3,), tps.NdarrayCodec()),
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    with tps.DatasetWriter(tmp_path, schema, compression="zstd") as writer:
        writer.write_batch({
            "id": np.arange(5000), "few": rng.integers(0, 9, 5000), "unique": rng.random(5000),
            "words": [("yes", "no", "perhaps")[i % 3] for i in range(5000)], "items": [[1, 2, 1]] * 5000,
            "image": rng.integers(0, 255, (5000, 2, 2), np.uint8), "array": rng.random((5000, 3), np.float32),
        })  # fmt: skip
    metadata = tps.open_dataset(tmp_path).file_metadata(0).row_group(0)
    columns = {metadata.column(i).path_in_schema.split(".")[0]: metadata.column(i) for i in range(metadata.num_columns)}
    coded = {name for name, column in columns.items() if column.has_dictionary_page}
    assert coded == {"few", "words", "items"}
    assert {name for name, column in columns.items() if column.compression == "UNCOMPRESSED"} == {"image"}
    assert columns["id"].compression == "ZSTD"
    assert columns["array"].statistics is None
    assert columns["unique"].statistics is not None


def test_metadata_that_petastorm_reads_too(tmp_path: Path) -> None:
    write(tmp_path / "a", range(3))
    pairs = pq.read_metadata(tmp_path / "a/_common_metadata").metadata
    assert set(pairs) - {b"ARROW:schema"} == {
        b"tfpetastorm.unischema.v1",
        b"tfpetastorm.files.v1",
        b"dataset-toolkit.unischema.v1",
        b"dataset-toolkit.num_row_groups_per_file.v1",
    }
    write(tmp_path / "b", range(3), petastorm_compatible=False)
    with tps.DatasetWriter(tmp_path / "c", WIDE):
        pass  # it has a field that petastorm knows nothing of
    for name in ("b", "c"):
        pairs = pq.read_metadata(tmp_path / name / "_common_metadata").metadata
        assert set(pairs) - {b"ARROW:schema"} == {b"tfpetastorm.unischema.v1", b"tfpetastorm.files.v1"}


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 16, reason="pyarrow 15 can't leave Arrow's copy out")
def test_metadata_is_not_stored_twice(tmp_path: Path) -> None:
    write(tmp_path, range(300), file_rows=1)
    stored = (tmp_path / "_common_metadata").read_bytes()
    assert b"ARROW:schema" not in stored
    assert len(stored) < 300 * 120


def test_many_partitions_with_few_rows(tmp_path: Path) -> None:
    schema = tps.Unischema("P", [tps.UnischemaField("id", np.int64), tps.UnischemaField("k", np.int64)])
    with tps.DatasetWriter(tmp_path, schema, partition_by="k", row_group_rows=2) as writer:
        writer.write_batch({"id": np.arange(1200), "k": np.arange(1200) % 200})
    dataset = tps.open_dataset(tmp_path)
    assert dataset.num_rows == 1200
    assert len(set(dataset.partition_fields["k"])) == 200
    for i, name in enumerate(file.path for file in dataset.files):
        assert set(np.array(pq.read_table(name, partitioning=None)["id"]) % 200) == {dataset.partition_fields["k"][i]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "replace"}, "mode='replace'"),
        ({"compression": "rar"}, "compression='rar'"),
        ({"row_group_rows": 0}, "row_group_rows=0"),
        ({"file_rows": 1.5}, "file_rows=1.5"),
        ({"row_group_size_mb": 0}, "row_group_size_mb=0"),
        ({"workers": -1}, "workers=-1"),
        ({"partition_by": ["nope"]}, "no field"),
        ({"partition_by": ["points"]}, "can't name folders"),
        ({"partition_by": ["id", "id"]}, "each once"),
        ({"schema": "x"}, "Unischema"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        tps.DatasetWriter(tmp_path / "new", **{"schema": SCHEMA, **options})
    assert not (tmp_path / "new").exists()


def test_folder_names_that_can_not_be(tmp_path: Path) -> None:
    for value in ("", "__HIVE_DEFAULT_PARTITION__", "a\0b"):
        with (
            pytest.raises(EncodeError, match="'name'"),
            tps.DatasetWriter(tmp_path, SCHEMA, partition_by=["name"]) as writer,
        ):
            writer.write({**row(1), "name": value})


def test_a_progress_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, range(30), progress=True)
    assert "30" in capfd.readouterr().out
    assert ids_of(tmp_path) == list(range(30))


def test_a_folder_named_like_a_glob(tmp_path: Path) -> None:
    write(tmp_path / "run[1]*", range(3))
    assert ids_of(tmp_path / "run[1]*") == [0, 1, 2]


def test_a_file_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(DatasetError):
        tps.DatasetWriter(tmp_path / "x", SCHEMA)


def test_files_left_by_other_programs_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    plain(tmp_path / "stray.parquet", id=[1])
    write(tmp_path, range(3, 5), mode="append")
    with pytest.warns(DatasetWarning, match=r"stray\.parquet"):
        assert ids_of(tmp_path) == list(range(5))
