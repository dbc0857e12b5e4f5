"""What `open_dataset` finds out, from the three kinds of datasets, and what it refuses."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.storage.helpers import GOLDEN, SCHEMA, ids_of, plain, write
from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetWarning,
    OptionError,
    SchemaError,
    SchemaMismatchError,
    UnsafeDataError,
)
from tfpetastorm.storage.metadata import common_metadata_bytes


def test_our_own_kind(tmp_path: Path) -> None:
    write(tmp_path, range(25), row_group_rows=4, file_rows=10)
    dataset = tps.open_dataset(tmp_path)
    assert (dataset.kind, dataset.num_rows, dataset.schema) == ("tfpetastorm", 25, SCHEMA)
    assert [group.rows for group in dataset.row_groups] == [4, 4, 2, 4, 4, 2, 4, 1]
    assert [group.ordinal for group in dataset.row_groups] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [group.file_index for group in dataset.row_groups] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert dataset.row_groups[-1].file == dataset.files[2].name
    assert len(dataset.row_groups[2:5]) == 3
    assert dataset.inventory.num_rows == 25
    assert dataset.metadata_problems == ()
    assert dataset.column_paths == {"id": ("id",), "name": ("name",), "points": ("points",)}
    statistics = dataset.row_groups[1].statistics("id")
    assert statistics is not None
    assert (statistics.minimum, statistics.maximum, statistics.nulls, statistics.rows) == (4, 7, 0, 4)
    with pytest.raises(OptionError, match="no field 'nmae'"):
        dataset.row_groups[0].statistics("nmae")


def test_datasets_written_by_petastorm() -> None:
    types = tps.open_dataset(GOLDEN / "petastorm-0.13.1/types")
    assert (types.kind, types.num_rows, len(types.row_groups)) == ("petastorm", 60, 12)
    assert types.partition_fields == {"part": ("p0", "p1", "p2", "p3")}
    assert list(types.schema.fields)[:3] == ["id", "part", "i8"]
    assert "part" not in types.column_paths
    drive = tps.open_dataset(GOLDEN / "petastorm-0.13.1/drive_small")
    assert (drive.num_rows, len(drive.files), len(drive.row_groups)) == (120, 2, 8)
    for version in ("0.4.3", "0.7.0"):
        legacy = tps.open_dataset(GOLDEN / "petastorm-legacy" / version)
        assert (legacy.kind, legacy.num_rows) == ("petastorm", 100)
        assert legacy.partition_fields["partition_key"] == tuple(f"p_{i}" for i in range(10))


def test_plain_parquet_by_spark() -> None:
    dataset = tps.open_dataset(GOLDEN / "petastorm-0.13.1/plain")
    assert (dataset.kind, dataset.num_rows) == ("parquet", 40)
    assert dataset.schema.fields["xs"].shape == (None,)
    assert dataset.column_paths["pair.b"] == ("pair", "b")
    statistics = dataset.row_groups[0].statistics("pair.a")
    assert statistics is not None
    assert statistics.nulls is not None
    assert dataset.row_groups[0].statistics("xs") is None


def test_partition_folders_are_typed(tmp_path: Path) -> None:
    plain(tmp_path / "n=1/zip=012/v=a%2Fb/x.parquet", id=[1])
    plain(tmp_path / "n=-2/zip=345/v=__HIVE_DEFAULT_PARTITION__/x.parquet", id=[2])
    dataset = tps.open_dataset(tmp_path)
    assert dataset.partition_fields == {"n": (-2, 1), "zip": ("345", "012"), "v": (None, "a/b")}
    fields = dataset.schema.fields
    assert [str(field) for field in fields.values()] == [
        "id: int64 nullable",
        "n: int64",
        "zip: str",
        "v: str nullable",
    ]
    statistics = dataset.row_groups[0].statistics("v")
    assert statistics is not None
    assert (statistics.nulls, dataset.row_groups[1].statistics("n").minimum) == (1, 1)  # type: ignore[union-attr]


def test_a_column_in_all_files_counts_more_than_folders(tmp_path: Path) -> None:
    plain(tmp_path / "day=1/x.parquet", day=[7])
    dataset = tps.open_dataset(tmp_path)
    assert dataset.partition_fields == {}
    assert dataset.column_paths == {"day": ("day",)}


def test_files_in_unlike_folders(tmp_path: Path) -> None:
    plain(tmp_path / "day=1/x.parquet", id=[7])
    plain(tmp_path / "x.parquet", id=[7])
    with pytest.raises(SchemaMismatchError, match=r"day=1/x\.parquet and x\.parquet"):
        tps.open_dataset(tmp_path)


def test_a_folder_value_that_does_not_suit_its_field(tmp_path: Path) -> None:
    schema = tps.Unischema("P", [tps.UnischemaField("id", np.int64), tps.UnischemaField("day", np.int32)])
    with tps.DatasetWriter(tmp_path, schema, partition_by=["day"]) as writer:
        writer.write({"id": 1, "day": 5})
    (name,) = (file.name for file in tps.open_dataset(tmp_path).files)
    (tmp_path / "day=5").rename(tmp_path / "day=soon")
    _edit(tmp_path, {b"tfpetastorm.files.v1": lambda text: text.replace(b"day=5", b"day=soon")})
    with pytest.raises(DatasetError, match=r"day=soon.*expected int32, found 'soon'"):
        tps.open_dataset(tmp_path)
    assert name.startswith("day=5")


def test_hidden_and_foreign_files_are_not_data(tmp_path: Path) -> None:
    for name in ("a.parquet", "_b.parquet", ".c.parquet", "_tmp/d.parquet", ".x/e.parquet", "sub/f.parquet", "g.PARQ"):
        plain(tmp_path / name, id=[1])
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "LICENSE").write_text("not data")
    assert [file.name for file in tps.open_dataset(tmp_path).files] == ["a.parquet", "g.PARQ", "sub/f.parquet"]


def test_files_without_a_suffix(tmp_path: Path) -> None:
    plain(tmp_path / "part-0", id=[3])
    assert ids_of(tmp_path) == [3]


def test_files_are_ordered_by_name_as_strings(tmp_path: Path) -> None:
    for name in ("b/1", "a.b/1", "a/2", "a-/1", "B/1"):
        plain(tmp_path / f"{name}.parquet", id=[1])
    names = [file.name for file in tps.open_dataset(tmp_path).files]
    assert names == sorted(names)
    assert names[0] == "B/1.parquet"


def test_a_folder_of_datasets_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "one", range(3))
    write(tmp_path / "two", range(3))
    with pytest.raises(DatasetError, match="folder of datasets, such as one"):
        tps.open_dataset(tmp_path)


def test_a_listed_file_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path, range(20), file_rows=10)
    victim = tps.open_dataset(tmp_path).files[1]
    Path(victim.path).unlink()
    with pytest.raises(DamagedDataError, match=victim.name):
        tps.open_dataset(tmp_path)
    bad: list[str] = []
    dataset = tps.open_dataset(tmp_path, on_bad_file=lambda file, error: bad.append(file.name))
    assert (bad, dataset.num_rows) == ([victim.name], 10)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-5], "truncated"),
        (lambda data: b"", "0 bytes"),
        (lambda data: b"not parquet at all", "no Parquet"),
        (lambda data: data[:-4] + b"PARE", "encrypted"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "claims"),
        (lambda data: data[:-60] + bytes(52) + data[-8:], "footer"),
    ],
)
def test_a_damaged_file_is_named_or_left_out(tmp_path: Path, damage: Any, said: str) -> None:
    plain(tmp_path / "a.parquet", id=[1])
    plain(tmp_path / "b.parquet", id=[2])
    (tmp_path / "b.parquet").write_bytes(damage((tmp_path / "b.parquet").read_bytes()))
    with pytest.raises(DamagedDataError, match=r"b\.parquet") as caught:
        tps.open_dataset(tmp_path)
    assert said in str(caught.value)
    bad: list[str] = []
    dataset = tps.open_dataset(tmp_path, on_bad_file=lambda file, error: bad.append(f"{file.name} {error}"))
    assert dataset.num_rows == 1
    assert len(bad) == 1
    assert bad[0].startswith("b.parquet")


def test_a_row_group_more_than_listed_is_loud(tmp_path: Path) -> None:
    write(tmp_path, range(20), row_group_rows=10)
    file = Path(tps.open_dataset(tmp_path).files[0].path)
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table, file, row_group_size=5)
    with pytest.raises(DatasetError, match=r"row groups.*expected 2, found 4"):
        tps.open_dataset(tmp_path)
    pq.write_table(table.slice(1), file, row_group_size=10)
    with pytest.raises(DatasetError, match=r"rows.*expected 20, found 19"):
        tps.open_dataset(tmp_path)


def test_unlisted_files_are_not_data_and_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    file = Path(tps.open_dataset(tmp_path).files[0].path)
    for i in range(5):
        shutil.copy(file, tmp_path / f"extra{i}.parquet")
    with pytest.warns(DatasetWarning, match=r"5 Parquet files.*extra0\.parquet, extra1.*and 2 more") as caught:
        dataset = tps.open_dataset(tmp_path)
    assert len(caught) == 1
    assert dataset.num_rows == 5
    assert len(dataset.metadata_problems) == 1


def test_petastorms_list_rules_too(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "petastorm-0.13.1/drive_small", tmp_path / "d")
    file = Path(tps.open_dataset(tmp_path / "d").files[0].path)
    shutil.copy(file, tmp_path / "d/more.parquet")
    with pytest.warns(DatasetWarning, match="more"):
        assert tps.open_dataset(tmp_path / "d").num_rows == 120
    (tmp_path / "d/more.parquet").unlink()
    file.unlink()
    with pytest.raises(DamagedDataError, match="missing"):
        tps.open_dataset(tmp_path / "d")


def test_files_that_grew_a_column_or_wider_integers(tmp_path: Path) -> None:
    plain(tmp_path / "a.parquet", id=pa.array([1], pa.int32()))
    plain(tmp_path / "b.parquet", id=pa.array([2], pa.int64()), extra=["x"])
    dataset = tps.open_dataset(tmp_path)
    assert dataset.schema.fields["id"].dtype == np.int64
    assert dataset.schema.fields["extra"].nullable
    assert "extra" not in dataset.arrow_schema(0).names
    assert dataset.arrow_schema(0).field("id").type == pa.int32()
    statistics = dataset.row_groups[0].statistics("extra")
    assert statistics is not None
    assert statistics.nulls == statistics.rows == 1


def test_files_that_can_not_be_reconciled(tmp_path: Path) -> None:
    plain(tmp_path / "a.parquet", id=[1])
    plain(tmp_path / "b.parquet", id=["one"])
    with pytest.raises(SchemaMismatchError, match=r"a\.parquet.*b\.parquet"):
        tps.open_dataset(tmp_path)


def test_a_file_that_does_not_suit_the_unischema(tmp_path: Path) -> None:
    write(tmp_path, range(20), file_rows=10)
    file = Path(tps.open_dataset(tmp_path).files[1].path)
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.drop_columns(["name"]), file)
    assert tps.open_dataset(tmp_path).num_rows == 20
    pq.write_table(table.drop_columns(["id"]), file)
    with pytest.raises(SchemaMismatchError, match=rf"'id'.*{file.name}"):
        tps.open_dataset(tmp_path)
    pq.write_table(table.set_column(0, "id", pa.array(["x"] * 10)), file)
    with pytest.raises(SchemaMismatchError, match=rf"{file.name}"):
        tps.open_dataset(tmp_path)


def test_a_column_no_field_can_hold(tmp_path: Path) -> None:
    plain(tmp_path / "a.parquet", id=[1], m=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())))
    with pytest.raises(SchemaError, match="'m'"):
        tps.open_dataset(tmp_path)
    dataset = tps.open_dataset(tmp_path, unmapped="omit")
    assert list(dataset.schema.fields) == ["id"]
    assert "m" in dataset.metadata_problems[0]


def test_metadata_beyond_thrifts_usual_limit(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    # 150 MB: pyarrow's own limit for one string is 100 MB.
    _edit(tmp_path, {b"dataset-toolkit.rowgroups_index.v1": lambda _: b"x" * 150_000_000})
    assert tps.open_dataset(tmp_path).num_rows == 3


def test_damaged_metadata(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    good = (tmp_path / "_common_metadata").read_bytes()
    for key, value, said in [
        (b"tfpetastorm.files.v1", b"{", "tfpetastorm.files.v1"),
        (b"tfpetastorm.files.v1", b"[]", "expected a JSON object"),
        (b"tfpetastorm.files.v1", b'{"version": 2}', "version 1"),
        (b"tfpetastorm.files.v1", b'{"version": 1, "state": "complete", "files": {"a": -1}}', "counts"),
        (b"tfpetastorm.files.v1", b"[" * 100_000, "files.v1"),
        (b"tfpetastorm.unischema.v1", b"{}", "_common_metadata"),
        (b"tfpetastorm.unischema.v1", b"\xff", "_common_metadata"),
    ]:
        (tmp_path / "_common_metadata").write_bytes(good)
        _edit(tmp_path, {key: lambda _, value=value: value})
        with pytest.raises((DatasetError, SchemaError), match=said):
            tps.open_dataset(tmp_path)
    (tmp_path / "_common_metadata").write_bytes(good[:-10])
    with pytest.raises(DatasetError, match="_common_metadata"):
        tps.open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../x.parquet", "/etc/passwd", "a/../../x.parquet", "..\\x.parquet"])
def test_a_list_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, range(3))
    listed = json.dumps({"version": 1, "state": "complete", "files": {name: [1, 1]}}).encode()
    _edit(tmp_path, {b"tfpetastorm.files.v1": lambda _: listed})
    with pytest.raises(UnsafeDataError, match="outside"):
        tps.open_dataset(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "d", range(3))
    marker = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    _edit(
        tmp_path / "d",
        {b"tfpetastorm.unischema.v1": None, b"dataset-toolkit.unischema.v1": lambda _: evil},
    )
    with pytest.raises(UnsafeDataError, match="_common_metadata"):
        tps.open_dataset(tmp_path / "d")
    assert not marker.exists()


def test_the_fingerprint_follows_the_data(tmp_path: Path) -> None:
    write(tmp_path / "a", range(20), row_group_rows=5)
    first = tps.open_dataset(tmp_path / "a").fingerprint
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    file = Path(tps.open_dataset(tmp_path / "b").files[0].path)
    os.utime(file, (1, 1))
    assert tps.open_dataset(tmp_path / "b").fingerprint == first
    write(tmp_path / "b", range(5), mode="append")
    assert tps.open_dataset(tmp_path / "b").fingerprint != first


def test_an_empty_dataset(tmp_path: Path) -> None:
    write(tmp_path, range(0))
    dataset = tps.open_dataset(tmp_path)
    assert (dataset.num_rows, len(dataset.row_groups), dataset.schema) == (0, 0, SCHEMA)


def test_progress_is_told(tmp_path: Path) -> None:
    write(tmp_path, range(30), file_rows=10)
    seen: list[tuple[int, int]] = []
    tps.open_dataset(tmp_path, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="sidecar"):
        tps.open_dataset(tmp_path, sidecar="sometimes")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unmapped"):
        tps.open_dataset(tmp_path, unmapped="drop")  # type: ignore[arg-type]


def test_partition_values_of_every_kind(tmp_path: Path) -> None:
    kinds: list[tuple[str, Any, Any]] = [
        ("text", np.str_, "a/b=c d%é\n[*]\\^"),
        ("number", np.uint8, 200),
        ("flag", np.bool_, True),
        ("day", dt.date, dt.date(2020, 2, 29)),
        ("price", Decimal, Decimal("1.500000000000000000")),
        ("none", np.str_, None),
    ]
    fields = [tps.UnischemaField(name, kind, nullable=value is None) for name, kind, value in kinds]
    schema = tps.Unischema("Parts", [tps.UnischemaField("id", np.int64), *fields])
    with tps.DatasetWriter(tmp_path, schema, partition_by=[name for name, _, _ in kinds]) as writer:
        writer.write({"id": 1, **{name: value for name, _, value in kinds}})
    dataset = tps.open_dataset(tmp_path)
    assert dataset.schema == schema
    assert dataset.partition_fields == {name: (value,) for name, _, value in kinds}


def _edit(path: Path, changes: dict[bytes, Any]) -> None:
    """Replace key-value pairs of a `_common_metadata`; None removes one."""
    with pq.ParquetFile(path / "_common_metadata") as file:
        pairs, columns = dict(file.metadata.metadata), file.schema_arrow
    if changes.get(b"tfpetastorm.unischema.v1", 0) is None:
        pairs.pop(b"tfpetastorm.files.v1")
    for key, change in changes.items():
        pairs[key] = change(pairs.get(key)) if change is not None else b""
        if change is None:
            del pairs[key]
    (path / "_common_metadata").write_bytes(common_metadata_bytes(columns.remove_metadata(), pairs))


def test_opening_warns_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids_of(tmp_path) == [0, 1, 2]
