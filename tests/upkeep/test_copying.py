"""`copy_dataset`: the same cells, byte for byte; the chosen fields and rows; all or nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DamagedDataError, DatasetExistsError, OptionError, SchemaError
from tfpetastorm.predicates import in_negate, in_reduce, in_set
from tfpetastorm.upkeep.copying import copy_dataset

SOURCES = [
    "petastorm-0.13.1/types", "petastorm-0.13.1/drive_small", "petastorm-0.13.1/plain",
    "petastorm-legacy/0.4.3", "petastorm-legacy/0.7.0",
]  # fmt: skip


def raw_rows(path: Path) -> list[dict[str, Any]]:
    """All rows as pyarrow reads them from the listed files, in order: cells undecoded, with folder values as text and
    members of structs as `a.b`."""
    stored = tps.open_dataset(path)
    rows = []
    for file in stored.files:
        for row in pq.ParquetFile(file.path).read().to_pylist():
            flat: dict[str, Any] = dict(file.partition)
            for name, value in row.items():
                flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            rows.append(flat)
    return rows


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def written(path: Path, rows: int = 20, **options: Any) -> Path:
    schema = tps.Unischema(
        "Things",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("place", np.str_),
            tps.UnischemaField("price", Decimal, codec=tps.ScalarCodec("decimal(10, 2)")),
            tps.UnischemaField("label", np.int32, nullable=True),
            tps.UnischemaField("camera", np.uint8, (6, 8, 3), tps.CompressedImageCodec("png"), True),
            tps.UnischemaField("tensor", np.float32, (2, 2), tps.TensorCodec()),
            tps.UnischemaField("items", np.int16, (None,)),
        ],
    )
    options = {"row_group_rows": 4, "workers": 0} | options
    with tps.DatasetWriter(path, schema, **options) as writer:
        for i in range(rows):
            writer.write(
                {
                    "id": i,
                    "place": "Bern" if i < 10 else "Genève / Süd",
                    "price": Decimal(i) / 4,
                    "label": i if i % 3 else None,
                    "camera": np.full((6, 8, 3), i, np.uint8) if i % 5 else None,
                    "tensor": np.full((2, 2), i, np.float32),
                    "items": np.arange(i % 4, dtype=np.int16),
                }
            )
    return path


# ---------------------------------------------------------------- all of it


def test_row_groups_that_can_not_match_are_not_read(tmp_path: Path) -> None:
    """They may as well be damaged."""
    source = written(tmp_path / "source", file_rows=4)
    first = min(source.glob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[100:600] = bytes(500)
    first.write_bytes(content)
    with pytest.raises(DamagedDataError):
        copy_dataset(source, tmp_path / "copy")
    for where in ([("id", ">", 6)], in_set([7, 9], "id")):
        copy_dataset(source, tmp_path / "copy", where=where, overwrite=True)
        assert {7, 9} <= {row["id"] for row in raw_rows(tmp_path / "copy")}


@pytest.mark.parametrize("name", SOURCES)
def test_every_cell_is_copied_as_it_is_stored(name: str, golden: Path, tmp_path: Path) -> None:
    before = fingerprints(golden / name)
    copied = copy_dataset(golden / name, tmp_path / "copy")
    source, copy = tps.open_dataset(golden / name), tps.open_dataset(tmp_path / "copy")
    assert raw_rows(tmp_path / "copy") == raw_rows(golden / name)
    assert tuple(copy.schema) == tuple(source.schema)
    assert list(copy.partition_fields) == list(source.partition_fields)
    assert (copied.rows, copied.source_rows, copied.files) == (source.num_rows, source.num_rows, len(copy.files))
    assert (copy.kind, copy.metadata_problems) == ("tfpetastorm", ())
    assert fingerprints(golden / name) == before


def test_petastorms_keys_are_there_where_its_form_can_express_the_schema(golden: Path, tmp_path: Path) -> None:
    copy_dataset(golden / "petastorm-0.13.1/types", tmp_path / "types")
    pairs = pq.read_metadata(tmp_path / "types/_common_metadata").metadata
    assert b"dataset-toolkit.unischema.v1" in pairs
    listed = json.loads(pairs[b"dataset-toolkit.num_row_groups_per_file.v1"])
    assert listed == {
        file.name: pq.read_metadata(file.path).num_row_groups for file in tps.open_dataset(tmp_path / "types").files
    }
    copy_dataset(written(tmp_path / "ours"), tmp_path / "copy")  # it has Arrow lists and tensors, petastorm has not
    assert b"dataset-toolkit.unischema.v1" not in pq.read_metadata(tmp_path / "copy/_common_metadata").metadata


def test_cells_are_not_decoded(tmp_path: Path) -> None:
    """A cell that no codec could decode is copied like any other, and so is one of a codec that nobody knows."""
    (tmp_path / "source").mkdir()
    pq.write_table(
        pa.table({"id": pa.array([1, 2], pa.int64()), "image": pa.array([b"no image", None], pa.binary())}),
        tmp_path / "source/part.parquet",
    )
    fields = [
        {"name": "id", "dtype": "int64", "shape": [], "codec": None, "nullable": False},
        {
            "name": "image", "dtype": "uint8", "shape": [None, 3], "nullable": True,
            "codec": {"name": "somebodys", "parameters": {"level": 3}},
        },
    ]  # fmt: skip
    schema = json.dumps({"version": 1, "name": "S", "fields": fields})
    listed = json.dumps({"version": 1, "state": "complete", "files": {"part.parquet": [2, 1]}})
    columns = pq.read_schema(tmp_path / "source/part.parquet")
    pairs = {"tfpetastorm.unischema.v1": schema, "tfpetastorm.files.v1": listed}
    pq.write_metadata(columns.with_metadata(pairs), tmp_path / "source/_common_metadata")
    copy_dataset(tmp_path / "source", tmp_path / "copy", where=[("id", "<", 2)])
    assert raw_rows(tmp_path / "copy") == [{"id": 1, "image": b"no image"}]
    stored = pq.read_metadata(tmp_path / "copy/_common_metadata").metadata[b"tfpetastorm.unischema.v1"]
    assert json.loads(stored)["fields"] == fields


def test_tensors_and_lists_keep_their_types(tmp_path: Path) -> None:
    source = written(tmp_path / "source")
    copy_dataset(source, tmp_path / "copy", where=[("id", ">", 2)], row_group_rows=7)
    mine, theirs = (pq.read_schema(next(path.glob("*.parquet"))) for path in (tmp_path / "copy", source))
    assert mine.field("tensor").type == theirs.field("tensor").type
    assert mine.field("items").type == theirs.field("items").type
    assert raw_rows(tmp_path / "copy") == raw_rows(source)[3:]


def test_plain_parquet_becomes_a_dataset_with_a_schema(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for name, kind, text in (("a", pa.int32(), pa.dictionary(pa.int8(), pa.string())), ("b", pa.int64(), pa.string())):
        (folder / f"year=200{len(name)}").mkdir(parents=True, exist_ok=True)
        table = pa.table(
            {
                "n": pa.array([1, 2, 3], kind),
                "word": pa.array(["x", None, "y"]).cast(text),
                "at": pa.array([{"x": 0.5}, None, {"x": 1.5}], pa.struct([("x", pa.float64())])),
            }
        )
        pq.write_table(table, folder / f"year=2001/{name}.parquet")
    copy_dataset(folder, tmp_path / "copy")
    copy = tps.open_dataset(tmp_path / "copy")
    assert [field.name for field in copy.schema] == ["n", "word", "at.x", "year"]
    assert raw_rows(tmp_path / "copy") == 2 * [
        {"n": 1, "word": "x", "at.x": 0.5, "year": "2001"},
        {"n": 2, "word": None, "at.x": None, "year": "2001"},
        {"n": 3, "word": "y", "at.x": 1.5, "year": "2001"},
    ]
    batch = next(iter(tps.make_dataset(tmp_path / "copy", batch_size=6, nulls="mask")))
    assert batch["n"].dtype.name == "int64"
    assert batch["at.x"].numpy().tolist() == [0.5, 0, 1.5] * 2


# ---------------------------------------------------------------- parts of it


def test_chosen_fields(tmp_path: Path) -> None:
    source = written(tmp_path / "source")
    copy_dataset(source, tmp_path / "copy", fields=["i.*", "camera"])
    assert list(tps.open_dataset(tmp_path / "copy").schema.fields) == ["id", "camera", "items"]
    assert raw_rows(tmp_path / "copy") == [
        {name: row[name] for name in ("id", "camera", "items")} for row in raw_rows(source)
    ]


@pytest.mark.parametrize(
    "where",
    [
        [("id", ">", 6), ("label", "!=", None)],
        (pc.field("id") > 6) & pc.field("label").is_valid(),
        in_reduce([in_negate(in_set(range(7), "id")), in_negate(in_set([None], "label"))], all),
        lambda id, price: (id > 6) & (id % 3 != 0),  # noqa: A006
    ],
)
def test_chosen_rows(where: Any, tmp_path: Path) -> None:
    source = written(tmp_path / "source", partition_by=["place"])
    copied = copy_dataset(source, tmp_path / "copy", fields=["id", "place"], where=where)
    expected = [i for i in range(20) if i > 6 and i % 3]
    assert [row["id"] for row in raw_rows(tmp_path / "copy")] == expected
    assert (copied.rows, copied.source_rows) == (len(expected), 20)


def test_rows_without_nulls_in_any_kind_of_field(tmp_path: Path) -> None:
    source = written(tmp_path / "source")
    copied = copy_dataset(source, tmp_path / "copy", fields=["id"], not_null_fields=["label", "camera"])
    expected = [i for i in range(20) if i % 3 and i % 5]
    assert [row["id"] for row in raw_rows(tmp_path / "copy")] == expected
    assert copied.rows == len(expected)
    copy_dataset(source, tmp_path / "two", not_null_fields=["camera"], where=[("id", "<", 7)])
    assert [row["id"] for row in raw_rows(tmp_path / "two")] == [1, 2, 3, 4, 6]


def test_no_row_at_all_is_a_dataset_too(tmp_path: Path) -> None:
    copied = copy_dataset(written(tmp_path / "source"), tmp_path / "copy", where=[("id", ">", 100)])
    assert (copied.rows, copied.files) == (0, 0)
    assert tps.open_dataset(tmp_path / "copy").num_rows == 0


# ---------------------------------------------------------------- other files


def test_row_groups_are_as_large_as_the_sources_unless_told(tmp_path: Path) -> None:
    source = written(tmp_path / "source")
    for options, expected in (
        ({}, [4, 4, 4, 4, 4]),
        ({"row_group_rows": 6}, [6, 6, 6, 2]),
        ({"row_group_size_mb": 32}, [20]),
    ):
        copy_dataset(source, tmp_path / "copy", overwrite=True, **options)
        assert tps.open_dataset(tmp_path / "copy").inventory.row_group_rows.tolist() == expected


@pytest.mark.parametrize(("stored", "options", "expected"), [
    ("zstd", {}, "ZSTD"), ("none", {}, "UNCOMPRESSED"), ("snappy", {"compression": "gzip"}, "GZIP"),
])  # fmt: skip
def test_compression_is_the_sources_unless_told(
    stored: str, options: dict[str, str], expected: str, tmp_path: Path
) -> None:
    copy_dataset(written(tmp_path / "source", compression=stored), tmp_path / "copy", **options)
    group = pq.read_metadata(next((tmp_path / "copy").glob("*.parquet"))).row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert chunks["id"] == expected
    assert chunks["camera"] == "UNCOMPRESSED", "PNG is compressed already"


@pytest.mark.parametrize(("options", "rows"), [
    ({"partition_count": 1}, [20]), ({"partition_count": 3}, [7, 7, 6]), ({"file_rows": 8}, [8, 8, 4]),
    ({"partition_count": 2, "not_null_fields": ["label"]}, [7, 6]),
])  # fmt: skip
def test_how_many_files(options: dict[str, Any], rows: list[int], tmp_path: Path) -> None:
    copy_dataset(written(tmp_path / "source", file_rows=5), tmp_path / "copy", **options)
    copy = tps.open_dataset(tmp_path / "copy")
    assert [copy.file_metadata(i).num_rows for i in range(len(copy.files))] == rows


def test_folders_stay_go_and_come(tmp_path: Path) -> None:
    source = written(tmp_path / "source", partition_by=["place"])
    copy_dataset(source, tmp_path / "same")
    copy_dataset(source, tmp_path / "none", partition_by=())
    copy_dataset(source, tmp_path / "other", partition_by=["label"], where=[("id", "<", 4)])
    assert list(tps.open_dataset(tmp_path / "same").partition_fields) == ["place"]
    assert not tps.open_dataset(tmp_path / "none").partition_fields
    assert tps.open_dataset(tmp_path / "other").partition_fields["label"] == (1, 2, None)
    expected = ["Bern"] * 10 + ["Genève / Süd"] * 10
    for name in ("same", "none"):
        assert [row["place"] for row in raw_rows(tmp_path / name)] == expected
    copy_dataset(source, tmp_path / "only", fields=["place"])
    assert [row["place"] for row in raw_rows(tmp_path / "only")] == expected


# ---------------------------------------------------------------- all or nothing


class StopError(Exception):
    pass


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_an_interrupted_copy_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise error

    source = written(tmp_path / "source")
    with pytest.raises(error):
        copy_dataset(source, tmp_path / "copy", progress=stop)
    assert not (tmp_path / "copy").exists()
    written(tmp_path / "old", rows=3)
    before = fingerprints(tmp_path / "old")
    with pytest.raises(error):
        copy_dataset(source, tmp_path / "old", overwrite=True, progress=stop)
    assert fingerprints(tmp_path / "old") == before


def test_a_damaged_source_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    source = written(tmp_path / "source")
    [file] = source.glob("*.parquet")
    content = bytearray(file.read_bytes())
    content[200:2000] = bytes(1800)
    file.write_bytes(content)
    with pytest.raises(DamagedDataError, match=file.name):
        copy_dataset(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_existing_dataset_is_replaced_only_on_request(tmp_path: Path) -> None:
    source, old = written(tmp_path / "source"), written(tmp_path / "old", rows=3)
    before = fingerprints(old)
    with pytest.raises(DatasetExistsError, match="already exists"):
        copy_dataset(source, old)
    assert fingerprints(old) == before
    copy_dataset(source, old, overwrite=True)
    assert raw_rows(old) == raw_rows(source)
    assert not before.keys() & {path.name for path in old.glob("*.parquet")}


def test_progress_counts_the_sources_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    copy_dataset(
        written(tmp_path / "source"),
        tmp_path / "copy",
        where=[("id", ">", 9)],
        progress=lambda *counts: seen.append(counts),
    )
    assert seen == [(4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("name", ["source", "source/inner", "."])
def test_a_copy_may_not_lie_in_its_source_nor_around_it(name: str, tmp_path: Path) -> None:
    source = written(tmp_path / "outer/source")
    (tmp_path / "link").symlink_to(tmp_path / "outer")
    before = fingerprints(source)
    with pytest.raises(OptionError, match="one in the other"):
        copy_dataset(source, tmp_path / "link" / name, overwrite=True)
    assert fingerprints(tmp_path / "outer/source") == before


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"fields": ["bogus"]}, SchemaError, "bogus"),
        ({"not_null_fields": ["bogus"]}, SchemaError, "bogus"),
        ({"where": [("bogus", "=", 1)]}, OptionError, "bogus"),
        ({"partition_by": ["tensor"]}, OptionError, "tensor"),
        ({"file_rows": 3, "partition_count": 3}, OptionError, "one of them"),
        ({"row_group_rows": 3, "row_group_size_mb": 3}, OptionError, "one of them"),
        ({"partition_count": 0}, OptionError, "partition_count"),
        ({"row_group_rows": 0}, OptionError, "row_group_rows"),
        ({"compression": "zip"}, OptionError, "zip"),
    ],
)
def test_what_can_not_work_is_said_before_anything_is_written(
    options: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=match):
        copy_dataset(written(tmp_path / "source"), tmp_path / "copy", **options)
    assert not (tmp_path / "copy").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_memory_is_that_of_a_row_group_or_two(tmp_path: Path) -> None:
    """Incompressible cells, 160 MB of them in row groups of 4 MB."""
    schema = tps.Unischema("Large", [tps.UnischemaField("x", np.uint8, (1 << 16,), tps.NdarrayCodec())])
    random = np.random.default_rng(0)
    with tps.DatasetWriter(tmp_path / "source", schema, row_group_rows=64, workers=0, compression="none") as writer:
        for _ in range(40):
            writer.write_batch({"x": random.integers(0, 255, (64, 1 << 16), np.uint8)})
    code = (
        "import resource, sys\nfrom tfpetastorm import copy_dataset\ncopy_dataset(*sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )

    def peak(source: Path, name: str) -> int:
        command = [sys.executable, "-c", code, source, tmp_path / name]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    copy_dataset(tmp_path / "source", tmp_path / "small", file_rows=64)
    one_row_group = peak(min((tmp_path / "small").glob("*.parquet")), "one")
    assert peak(tmp_path / "source", "all") - one_row_group < 60_000_000
