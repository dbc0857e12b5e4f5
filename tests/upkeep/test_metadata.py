"""`generate_metadata`, `check_dataset`, `repair_metadata`: only metadata is written, and findings are true."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DatasetError, DatasetWarning, SchemaError, SchemaMismatchError
from tfpetastorm.upkeep import metadata as metadata_module
from tfpetastorm.upkeep.checking import check_dataset, repair_metadata
from tfpetastorm.upkeep.metadata import generate_metadata

OURS, OURS_FILES = b"tfpetastorm.unischema.v1", b"tfpetastorm.files.v1"
THEIRS, THEIRS_FILES = b"dataset-toolkit.unischema.v1", b"dataset-toolkit.num_row_groups_per_file.v1"
SCHEMA = tps.Unischema(
    "Small",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("image", np.uint8, (4, 5, 3), tps.CompressedImageCodec("png")),
    ],
)


def written(path: Path, rows: int = 12, **options: Any) -> Path:
    with tps.DatasetWriter(path, SCHEMA, row_group_rows=4, workers=0, **options) as writer:
        for i in range(rows):
            writer.write({"id": i, "image": np.full((4, 5, 3), i, np.uint8)})
    return path


def copied(source: Path, path: Path) -> Path:
    shutil.copytree(source, path)
    return path


def pairs(path: Path) -> dict[bytes, bytes]:
    return dict(pq.read_metadata(path / "_common_metadata").metadata or {})


def rewrite(path: Path, change: Callable[[dict[bytes, bytes]], None]) -> None:
    """Change the metadata's key-value pairs as another program might."""
    held = pairs(path)
    held.pop(b"ARROW:schema", None)
    change(held)
    pq.write_metadata(pq.read_schema(path / "_common_metadata").with_metadata(held), path / "_common_metadata")


def data_files(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in path.rglob("*.parquet")}


def told(path: Path, **options: Any) -> list[tuple[str, str]]:
    return [(finding.aspect, finding.what) for finding in check_dataset(path, **options).findings]


# ---------------------------------------------------------------- generating


@pytest.mark.parametrize("name", ["petastorm-0.13.1/types", "petastorm-legacy/0.4.3", "petastorm-legacy/0.7.0"])
def test_petastorms_schema_becomes_ours_and_stays_petastorms(name: str, golden: Path, dataset_path: Path) -> None:
    path = copied(golden / name, dataset_path)
    before, files = pairs(path), data_files(path)
    made = generate_metadata(path)
    after = pairs(path)
    assert (made.origin, made.petastorm, made.files) == ("petastorm", True, len(files))
    assert tps.open_dataset(path).kind == "tfpetastorm"
    assert tuple(tps.open_dataset(path).schema) == tuple(tps.open_dataset(golden / name).schema)
    assert after[THEIRS] == before[THEIRS], "the pickle is petastorm's own, byte for byte"
    assert data_files(path) == files
    kept = before.keys() - {b"ARROW:schema"}
    assert {key: after[key] for key in kept - {THEIRS_FILES}} == {key: before[key] for key in kept - {THEIRS_FILES}}
    assert json.loads(after[THEIRS_FILES]) == {f: pq.read_metadata(path / f).num_row_groups for f in files}
    assert check_dataset(path).findings == []


def test_metadata_that_was_lost(dataset_path: Path) -> None:
    """Without Spark, by one call (uber/petastorm#515)."""
    path = written(dataset_path)
    (path / "_common_metadata").unlink()
    (path / "._common_metadata.crc").write_bytes(b"crc\0old")
    made = generate_metadata(path, SCHEMA)
    assert (made.origin, made.rows, made.row_groups) == ("given", 12, 3)
    assert tps.open_dataset(path).schema == SCHEMA
    assert not (path / "._common_metadata.crc").exists()
    batch = next(iter(tps.make_dataset(path, batch_size=12)))
    assert batch["image"].numpy()[:, 0, 0, 0].tolist() == list(range(12))


def test_plain_parquet_gets_the_schema_that_its_columns_amount_to(dataset_path: Path) -> None:
    (dataset_path / "year=2001").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1, 2], "words": [["a"], []]}), dataset_path / "year=2001/one.parquet")
    before = tps.open_dataset(dataset_path).schema
    made = generate_metadata(dataset_path)
    assert (made.origin, made.petastorm) == ("inferred", False)
    after = tps.open_dataset(dataset_path)
    assert (after.kind, after.schema) == ("tfpetastorm", before)
    assert check_dataset(dataset_path).findings == []


def test_members_of_structs_are_refused_or_left_out(golden: Path, dataset_path: Path) -> None:
    path = copied(golden / "petastorm-0.13.1/plain", dataset_path)
    with pytest.raises(SchemaError, match=r"pair\.a"):
        generate_metadata(path)
    assert not (path / "_common_metadata").exists()
    generate_metadata(path, unmapped="omit")
    assert "pair.a" not in tps.open_dataset(path).schema
    assert check_dataset(path).findings == []


@pytest.mark.parametrize(
    "wrong",
    [
        tps.UnischemaField("image", np.float32, (4, 5)),
        tps.UnischemaField("more", np.int64),
        tps.UnischemaField("more", np.int64, nullable=True),
    ],
)
def test_a_schema_that_the_files_do_not_have_is_refused(wrong: tps.UnischemaField, dataset_path: Path) -> None:
    path = written(dataset_path)
    before = (path / "_common_metadata").read_bytes()
    with pytest.raises(SchemaMismatchError, match=wrong.name):
        generate_metadata(path, tps.Unischema("Wrong", [SCHEMA.id, wrong]))
    assert (path / "_common_metadata").read_bytes() == before


def test_files_that_were_never_committed_are_not_listed_unasked(dataset_path: Path) -> None:
    path = written(dataset_path)
    [file] = path.glob("*.parquet")
    shutil.copy(file, path / "extra.parquet")
    assert generate_metadata(path).files == 1
    assert generate_metadata(path, adopt=True).rows == 24
    assert tps.open_dataset(path).num_rows == 24


def test_an_index_of_other_files_goes(golden: Path, dataset_path: Path) -> None:
    path = copied(golden / "petastorm-0.13.1/types", dataset_path)
    index = b"dataset-toolkit.rowgroups_index.v1"
    rewrite(path, lambda held: held.update({index: b"whatever"}))
    generate_metadata(path)
    assert pairs(path)[index] == b"whatever"
    file = next(path.rglob("*.parquet"))
    shutil.copy(file, file.with_name("extra.parquet"))
    generate_metadata(path, adopt=True)
    assert index not in pairs(path)


def test_an_unfinished_dataset_stays_unfinished(dataset_path: Path) -> None:
    path = written(dataset_path)
    state = json.dumps({"version": 1, "state": "writing", "files": {}, "writer": "x"}).encode()
    rewrite(path, lambda held: held.update({OURS_FILES: state}))
    with pytest.raises(DatasetError, match="never finished"):
        generate_metadata(path)
    assert any("never finished" in what for _, what in told(path, rows=0))


def test_another_writer_meanwhile_is_noticed(dataset_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(dataset_path)
    read = metadata_module.read_footers

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        written(path, 4, mode="append")
        return read(*arguments, **options)

    monkeypatch.setattr(metadata_module, "read_footers", meanwhile)
    with pytest.raises(DatasetError, match="changed"):
        generate_metadata(path)
    assert tps.open_dataset(path).num_rows == 16


def test_summary_has_all_row_groups(dataset_path: Path) -> None:
    path = written(dataset_path, file_rows=4)
    generate_metadata(path, summary=True)
    summary = pq.read_metadata(path / "_metadata")
    names = [summary.row_group(i).column(0).file_path for i in range(summary.num_row_groups)]
    assert names == [file.name for file in tps.open_dataset(path).files]
    assert summary.num_rows == 12
    assert check_dataset(path).findings == []


# ---------------------------------------------------------------- checking and mending


@pytest.mark.parametrize("name", ["petastorm-0.13.1/types", "petastorm-0.13.1/drive_small", "petastorm-legacy/0.7.0"])
def test_petastorms_datasets_are_sound(name: str, golden: Path) -> None:
    report = check_dataset(golden / name)
    assert report.findings == []
    assert report.skipped == {}
    assert (
        report.seen["cells"]
        == f"{tps.open_dataset(golden / name).num_rows} of {tps.open_dataset(golden / name).num_rows} rows"
    )


def counts(held: dict[bytes, bytes], key: bytes, change: Callable[[Any], None]) -> None:
    stored = json.loads(held[key])
    change(stored)
    held[key] = json.dumps(stored).encode()


def drop(key: bytes) -> Callable[[dict[bytes, bytes]], None]:
    return lambda held: held.pop(key, None) and None


def one_more(held: dict[bytes, bytes]) -> None:
    counts(held, THEIRS_FILES, lambda stored: stored.update({name: n + 1 for name, n in stored.items()}))


def fewer_rows(held: dict[bytes, bytes]) -> None:
    counts(held, OURS_FILES, lambda s: s.update(files={name: [n - 1, g] for name, (n, g) in s["files"].items()}))


MENDABLE = {
    "petastorm's list is missing": (drop(THEIRS_FILES), "files"),
    "petastorm's schema is missing": (drop(THEIRS), "schemas"),
    "petastorm's list counts otherwise": (one_more, "files"),
    "our list is missing": (drop(OURS_FILES), "files"),
    "our list counts otherwise": (fewer_rows, "counts"),
    "our list is no JSON": (lambda held: held.update({OURS_FILES: b"{"}), "files"),
    "our schema is no JSON": (lambda held: held.update({OURS: b"\xff{"}), "schemas"),
    "petastorm's schema is no pickle": (lambda held: held.update({THEIRS: b"cos\nsystem\n(S'true'\ntR."}), "schemas"),
}


@pytest.mark.parametrize("case", list(MENDABLE))
def test_what_can_be_mended_is(case: str, dataset_path: Path) -> None:
    """Wrong counts of row groups (uber/petastorm#447) and damaged metadata (#515) among them."""
    change, aspect = MENDABLE[case]
    path = written(dataset_path)
    sound = pairs(path)
    rewrite(path, change)
    files = data_files(path)
    before = (path / "_common_metadata").read_bytes()
    found = check_dataset(path, rows=0).findings
    assert {finding.aspect for finding in found} == {aspect}
    assert all(finding.mend for finding in found)
    assert (path / "_common_metadata").read_bytes() == before, "a check writes nothing"
    assert repair_metadata(path)
    assert told(path) == []
    after = pairs(path)
    assert {k: after[k] for k in (OURS_FILES, THEIRS_FILES)} == {k: sound[k] for k in (OURS_FILES, THEIRS_FILES)}
    assert tps.open_dataset(path).schema == SCHEMA
    assert data_files(path) == files
    assert repair_metadata(path) == []


def test_schemas_that_differ(dataset_path: Path, tmp_path: Path) -> None:
    path = written(dataset_path)
    other = tps.Unischema("Small", [SCHEMA.id, tps.UnischemaField("image", np.uint8, (9, 9, 3), SCHEMA.image.codec)])
    with tps.DatasetWriter(tmp_path / "other", other, workers=0):
        pass
    rewrite(path, lambda held: held.update({THEIRS: pairs(tmp_path / "other")[THEIRS]}))
    [(aspect, what)] = told(path)
    assert aspect == "schemas"
    assert "image" in what
    repair_metadata(path)
    assert told(path) == []


@pytest.mark.parametrize("right", [True, False])
def test_hadoops_checksum(right: bool, dataset_path: Path) -> None:
    path = written(dataset_path)
    content = (path / "_common_metadata").read_bytes()
    sums = b"".join(struct.pack(">I", zlib.crc32(content[i : i + 512])) for i in range(0, len(content), 512))
    crc = path / "._common_metadata.crc"
    crc.write_bytes(b"crc\0" + struct.pack(">i", 512) + (sums if right else sums[::-1]))
    assert bool(told(path)) is not right
    repair_metadata(path)
    assert crc.exists() is right
    assert told(path) == []


def test_a_summary_of_other_files(dataset_path: Path) -> None:
    path = written(dataset_path)
    generate_metadata(path, summary=True)
    with tps.DatasetWriter(path, None, mode="append", workers=0) as writer:
        writer.write({"id": 9, "image": np.zeros((4, 5, 3), np.uint8)})
    generate_metadata(path, summary=True)
    assert told(path) == []
    pq.write_metadata(pq.read_schema(path / "_common_metadata"), path / "_metadata")
    assert [aspect for aspect, _ in told(path)] == ["checksums"]
    repair_metadata(path)
    assert not (path / "_metadata").exists()


def test_files_missing_and_unlisted_are_for_the_user(dataset_path: Path) -> None:
    path = written(dataset_path, file_rows=4)
    first, second, _ = sorted(path.glob("*.parquet"))
    shutil.copy(first, path / "extra.parquet")
    second.unlink()
    found = check_dataset(path).findings
    assert [(f.aspect, f.what.split()[0], f.mend) for f in found] == [
        ("files", second.name, None), ("files", "extra.parquet", None),
    ]  # fmt: skip
    assert all(finding.remedy for finding in found)
    assert repair_metadata(path) == []
    shutil.copy(first, second)
    assert repair_metadata(path, adopt=True)
    assert told(path) == []
    assert tps.open_dataset(path).num_rows == 16


def test_a_damaged_cell_and_a_damaged_file_are_named(dataset_path: Path) -> None:
    path = written(dataset_path, file_rows=4)
    first, second, _ = sorted(path.glob("*.parquet"))
    table = pq.ParquetFile(first).read()
    images = table.column("image").to_pylist()
    images[2] = b"no image"
    pq.write_table(table.set_column(1, "image", pa.array(images, pa.binary())), first)
    second.write_bytes(second.read_bytes()[:-20])
    found = check_dataset(path).findings
    assert [finding.aspect for finding in found] == ["counts", "cells"]
    assert second.name in found[0].what
    assert first.name in found[1].what
    assert "row 2" in found[1].what
    assert "image" in found[1].what
    assert repair_metadata(path) == []


def test_nulls_and_columns_that_should_not_be(dataset_path: Path) -> None:
    path = written(dataset_path, file_rows=4)
    first, second, _ = sorted(path.glob("*.parquet"))
    table = pq.ParquetFile(first).read()
    pq.write_table(table.set_column(0, "id", pa.array([1, None, 3, 4], pa.int64())), first)
    assert [(aspect, "null" in what) for aspect, what in told(path)] == [("cells", True)]
    pq.write_table(pq.ParquetFile(second).read().drop_columns(["id"]), second)
    assert ("columns", f"{second.name} lacks the field 'id', which is not nullable") in told(path)
    pq.write_table(table.set_column(0, "id", pa.array(list("abcd"))), first)
    assert any(aspect == "columns" and first.name in what for aspect, what in told(path))


def test_plain_parquet_has_nothing_to_be_mended(golden: Path, dataset_path: Path) -> None:
    path = copied(golden / "petastorm-0.13.1/plain", dataset_path)
    [finding] = check_dataset(path).findings
    assert (finding.aspect, finding.mend) == ("metadata", None)
    assert repair_metadata(path) == []
    assert not (path / "_common_metadata").exists()


def test_unreadable_metadata_needs_the_users_schema(dataset_path: Path) -> None:
    path = written(dataset_path)
    (path / "_common_metadata").write_bytes(b"PAR1junkPAR1")
    [finding] = check_dataset(path).findings
    assert (finding.aspect, finding.mend) == ("metadata", None)
    assert repair_metadata(path) == []
    with pytest.raises(DatasetError, match="Give the schema"):
        generate_metadata(path)
    generate_metadata(path, SCHEMA)
    assert told(path) == []


def test_rows_are_looked_at_all_over(dataset_path: Path) -> None:
    path = dataset_path
    schema = tps.Unischema("Many", [tps.UnischemaField("x", np.float32, (2,), tps.NdarrayCodec())])
    with tps.DatasetWriter(path, schema, row_group_rows=10, file_rows=10, workers=0) as writer:
        for i in range(200):
            writer.write({"x": np.full(2, i, np.float32)})
    assert check_dataset(path, rows=40).seen["cells"] == "40 of 200 rows"
    last = max(path.glob("*.parquet"))
    pq.write_table(pa.table({"x": pa.array([b"?"] * 10, pa.binary())}), last)
    assert {aspect for aspect, _ in told(path, rows=40)} == {"cells"}
    assert check_dataset(path, rows=0).skipped["cells"]


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder"):
        check_dataset(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="no Parquet"):
        generate_metadata(tmp_path)


def test_readers_warn_of_what_the_check_finds(dataset_path: Path) -> None:
    path = written(dataset_path)
    [file] = path.glob("*.parquet")
    shutil.copy(file, path / "extra.parquet")
    with pytest.warns(DatasetWarning, match="extra"):
        tps.open_dataset(path)
    assert [aspect for aspect, _ in told(path)] == ["files"]
