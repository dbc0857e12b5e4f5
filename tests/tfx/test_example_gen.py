"""UnischemaExampleGen: which files are taken, and how they get into the artifact."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.tfx.generating import files_of, generate, resolved, schema_of, splits, table_of
from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetNotFoundError,
    DatasetWarning,
    OptionError,
    SchemaMismatchError,
)

Field = tps.UnischemaField
SCHEMA = tps.Unischema(
    "Trips",
    [
        Field("id", np.int64),
        Field("name", np.str_, nullable=True),
        Field("grid", np.float32, (2, 2), tps.NdarrayCodec()),
        Field("month", np.int8),
    ],
)


def write(folder: Path, first: int, rows: int, **options: Any) -> None:
    with tps.DatasetWriter(folder, SCHEMA, row_group_rows=10, **options) as writer:
        for number in range(first, first + rows):
            grid = np.full((2, 2), number, np.float32)
            name = None if number % 3 == 0 else f"n{number}"
            writer.write({"id": number, "name": name, "grid": grid, "month": number % 4})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write(tmp_path / "data" / "train", 0, 40, file_rows=20)
    write(tmp_path / "data" / "eval", 40, 10)
    return tmp_path / "data"


def component(base: Path, **options: Any) -> Any:
    from tfpetastorm.tfx import UnischemaExampleGen

    options.setdefault("input_config", splits(train="train/*", eval="eval/*"))
    return UnischemaExampleGen(str(base), **options)


def ids(examples: Any, split: str) -> list[int]:
    return sorted(table_of(examples, split)["id"].to_pylist())


def paths(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


@pytest.mark.parametrize("pattern", ["/*", "", "/*.parquet", "/**"])
def test_files_are_linked(base: Path, tmp_path: Path, pattern: str) -> None:
    config = splits(train=f"train{pattern}", eval=f"eval{pattern}")
    examples = generate(component(base, input_config=config), tmp_path / "out")
    assert examples.split_names == '["train", "eval"]'
    assert examples.get_string_custom_property("payload_format") == "FORMAT_PARQUET"
    assert examples.get_string_custom_property("file_format") == "FILE_FORMAT_PARQUET"
    for split in ("train", "eval"):
        taken, own = files_of(examples, split), paths(base / split)
        assert [path.name for path in taken] == [path.name for path in own]
        assert [path.stat().st_ino for path in taken] == [path.stat().st_ino for path in own]
    whole = tps.open_dataset(examples.uri)
    assert (whole.kind, whole.num_rows, whole.schema) == ("tfpetastorm", 50, SCHEMA)
    assert sorted(path.name for path in Path(examples.uri).iterdir()) == [
        "Split-eval",
        "Split-train",
        "_common_metadata",
    ]


def test_files_are_copied(base: Path, tmp_path: Path) -> None:
    examples = generate(component(base, mode="copy"), tmp_path / "out")
    for split in ("train", "eval"):
        taken, own = files_of(examples, split), paths(base / split)
        assert [path.read_bytes() for path in taken] == [path.read_bytes() for path in own]
        assert not {path.stat().st_ino for path in taken} & {path.stat().st_ino for path in own}


@pytest.mark.parametrize("name", ["a?b", "a[1]b", "a*b"])
def test_the_base_is_no_pattern(tmp_path: Path, name: str) -> None:
    """Folders that it would match as one are others'; nor is the artifact's own folder one to readers."""
    from tfpetastorm.tfxio import UnischemaTFXIO

    for number, folder in enumerate([name, "a1b", "a b", "a#b"]):
        write(tmp_path / folder / "train", 10 * number, 3)
        write(tmp_path / folder / "eval", 10 * number + 5, 2)
    for base in (tmp_path / name, f"file://{tmp_path}/{name}"):
        made = component(base)
        examples = generate(made, tmp_path / "out" / name, resolved(made))
        assert (ids(examples, "train"), ids(examples, "eval")) == ([0, 1, 2], [5, 6])
        assert UnischemaTFXIO(f"{examples.uri}/Split-train/*").ArrowSchema().names == list(SCHEMA.fields)
        with pytest.raises(DatasetError, match="nothing matches"):
            resolved(component(base, input_config=splits(train="tra/*", eval="eval/*")))
    with pytest.raises(DatasetError, match=r"TFX would take input_base for a pattern.*Rename"):
        resolved(component(tmp_path / name, input_config=splits(train="{SPAN}/*")))


def test_where_no_links_can_be_files_are_copied(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As between two devices."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    examples = generate(component(base), tmp_path / "out")
    assert ids(examples, "train") == list(range(40))
    assert files_of(examples, "eval")[0].stat().st_nlink == 1


def test_of_a_symbolic_link_the_file_is_linked(base: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in paths(base / "eval"):
        moved = tmp_path / "other" / path.name
        path.rename(moved)
        path.symlink_to(moved)
    examples = generate(component(base), tmp_path / "out")
    assert not files_of(examples, "eval")[0].is_symlink()
    shutil.rmtree(base)
    assert ids(examples, "eval") == list(range(40, 50))


def test_what_is_no_data_is_left_out(base: Path, tmp_path: Path) -> None:
    folder = base / "train"
    for name in ("_SUCCESS", ".hidden.parquet", "_metadata", "notes.txt", ".part.crc"):
        (folder / name).write_bytes(b"no data")
    shutil.copy(paths(folder)[0], folder / "left-by-a-failed-writer.parquet")
    (folder / "_temporary" / "0").mkdir(parents=True)
    shutil.copy(paths(folder)[0], folder / "_temporary" / "0" / "part.parquet")
    before = resolved(component(base))["input_fingerprint"]
    for pattern in ("train/*", "train", "train/**", "t*/*.parquet"):
        config = splits(train=pattern, eval="eval/*")
        with pytest.warns(DatasetWarning, match="left-by-a-failed-writer"):
            examples = generate(component(base, input_config=config), tmp_path / pattern.replace("*", "x"))
        assert ids(examples, "train") == list(range(40))
    # What was never taken changes nothing.
    (folder / "_SUCCESS").write_bytes(b"again")
    (folder / "left-by-a-failed-writer.parquet").unlink()
    assert resolved(component(base))["input_fingerprint"] == before


def test_a_listed_file_that_is_gone_is_missed(base: Path) -> None:
    gone = paths(base / "train")[1]
    gone.unlink()
    for pattern in ("train/*", "train", "train/*.parquet", "**/part-*"):
        with pytest.raises(DamagedDataError, match=rf"input split 'train'.*is missing.*{gone.name}"):
            resolved(component(base, input_config=splits(train=pattern, eval="eval/*")))
    # Who asks for another of the files does not miss it.
    config = splits(train=f"train/{paths(base / 'train')[0].name}", eval="eval/*")
    assert resolved(component(base, input_config=config))["input_fingerprint"]


def test_fingerprints_follow_what_is_taken(base: Path) -> None:
    def now(**options: Any) -> str:
        return str(resolved(component(base, **options))["input_fingerprint"])

    first = now()
    lines = first.splitlines()
    size = sum(path.stat().st_size for path in paths(base / "train"))
    assert lines[0].startswith(f"split:train,num_files:2,total_bytes:{size},xor_checksum:")
    assert lines[1].startswith("split:eval,num_files:1,")
    assert now() == first
    # Of the same size within the same second, which TFX by itself does not notice.
    path = paths(base / "eval")[0]
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns // 10**9 * 10**9 + (stat.st_mtime_ns + 1) % 10**9))
    second = now()
    assert second != first
    write(base / "eval", 50, 5, mode="append")
    third = now()
    assert third not in (first, second)
    # As a folder it is the same files.
    assert now(input_config=splits(train="train", eval="eval")) == third


def test_files_in_folders_are_noticed_one_by_one(tmp_path: Path) -> None:
    """TFX looks at what a pattern matches: at a folder's own time."""
    write(tmp_path / "data", 0, 40, partition_by=["month"])
    asked = component(tmp_path / "data", input_config=splits(a="month=*", b="month=1/*"))
    before = resolved(asked)["input_fingerprint"]
    path = paths(tmp_path / "data" / "month=3")[0]
    os.utime(path, ns=(1, 1))
    after = resolved(asked)["input_fingerprint"]
    assert after.splitlines()[0] != before.splitlines()[0]
    assert after.splitlines()[1] == before.splitlines()[1]


def test_spans_and_versions_are_resolved_as_tfx_does(tmp_path: Path) -> None:
    from tfx.proto import range_config_pb2

    for span, version in [(7, 1), (8, 1), (8, 2)]:
        for split in ("train", "eval"):
            write(tmp_path / f"span{span:02d}" / f"v{version}" / split, span * 100 + version * 10, 2)
    config = splits(train="span{SPAN:2}/v{VERSION}/train/*", eval="span{SPAN:2}/v{VERSION}/eval/*")
    newest = component(tmp_path, input_config=config)
    properties = resolved(newest)
    assert (properties["span"], properties["version"]) == (8, 2)
    assert ids(generate(newest, tmp_path / "out"), "train") == [820, 821]
    wanted = range_config_pb2.RangeConfig(static_range={"start_span_number": 7, "end_span_number": 7})
    older = component(tmp_path, input_config=config, range_config=wanted)
    assert resolved(older)["span"] == 7
    assert ids(generate(older, tmp_path / "older"), "eval") == [710, 711]
    assert resolved(older)["input_fingerprint"] != properties["input_fingerprint"]


def test_where_no_span_can_be_found_no_message_tells_credentials(tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    config = splits(train="span-{SPAN}/*")
    for base, kind, reason in (
        (str(tmp_path), DatasetNotFoundError, r"'span-\{SPAN\}/\*' in /.*patterns without \{SPAN\}"),
        ("nowhere://key:hidden@bucket/x?token=hidden", DatasetError, r"in nowhere://bucket/x\?token=…\. It looks"),
    ):
        with pytest.raises(kind, match=reason) as error:
            resolved(UnischemaExampleGen(base, input_config=config))
        assert "hidden" not in str(error.value)


def test_dates_are_spans(tmp_path: Path) -> None:
    for day in ("2020-01-01", "2020-02-03"):
        write(tmp_path / day, int(day[-2:]), 2)
    made = component(tmp_path, input_config=splits(one="{YYYY}-{MM}-{DD}/*", two="{YYYY}-{MM}-{DD}"))
    assert resolved(made)["span"] == 18295
    examples = generate(made, tmp_path / "out")
    assert ids(examples, "one") == ids(examples, "two") == [3, 4]


def test_values_in_folder_names_are_written_in(tmp_path: Path) -> None:
    write(tmp_path / "data", 0, 40, partition_by=["month"])
    config = splits(train="month=[0-2]/*", eval="month=3/*")
    examples = generate(component(tmp_path / "data", input_config=config), tmp_path / "out")
    train = table_of(examples, "train")
    assert ids(examples, "train") == [number for number in range(40) if number % 4 < 3]
    assert train["month"].to_pylist() == [number % 4 for number in train["id"].to_pylist()]
    assert set(table_of(examples, "eval")["month"].to_pylist()) == {3}
    assert train.schema.field("month").type == pa.int8()
    whole = tps.open_dataset(examples.uri)
    assert (whole.schema, dict(whole.partition_fields)) == (SCHEMA, {})
    # They have the same names in every folder; nothing got lost.
    assert len(files_of(examples, "train")) == 3


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number, folder in enumerate(["a/x", "a/y", "b/x"]):
        (tmp_path / "data" / folder).mkdir(parents=True)
        pq.write_table(pa.table({"id": [number]}), tmp_path / "data" / folder / "part 0[1].parq")
    config = splits(train="a/*/*", eval="b/x/*")
    examples = generate(component(tmp_path / "data", input_config=config), tmp_path / "out")
    assert [path.name for path in files_of(examples, "train")] == ["x-part_0_1_.parquet", "y-part_0_1_.parquet"]
    assert ids(examples, "train") == [0, 1]
    assert [path.name for path in files_of(examples, "eval")] == ["part_0_1_.parquet"]


@pytest.mark.parametrize(
    "name",
    ["petastorm-0.13.1/drive_small", "petastorm-0.13.1/types", "petastorm-0.13.1/indexed", "petastorm-legacy/0.4.3"],
)
def test_petastorms_schema_is_kept_as_ours(golden: Path, tmp_path: Path, name: str) -> None:
    """Read symbolically, from its pickle; with partitions written in."""
    examples = generate(component(golden, input_config=splits(train=name, eval=f"{name}/**")), tmp_path / "out")
    theirs, whole = tps.open_dataset(golden / name), tps.open_dataset(examples.uri)
    assert (theirs.kind, whole.kind) == ("petastorm", "tfpetastorm")
    assert whole.schema == theirs.schema
    assert whole.num_rows == 2 * theirs.num_rows
    field = next(field.name for field in theirs.schema if field.kind == "number" and not field.shape)
    wanted = next(iter(tps.make_dataset(golden / name, fields=[field], batch_size=200, nulls="mask")))[field]
    found = next(iter(tps.make_dataset(f"{examples.uri}", fields=[field], batch_size=400, nulls="mask")))[field]
    assert sorted(found.numpy().tolist()) == sorted([*wanted.numpy().tolist()] * 2)


def test_plain_parquet_has_the_schema_that_all_splits_amount_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": pa.array([1, 2], pa.int32())}), tmp_path / "data" / "train.parquet")
    pq.write_table(pa.table({"id": [3], "extra": ["x"]}), tmp_path / "data" / "eval.parquet")
    config = splits(train="train.parquet", eval="eval.parquet")
    examples = generate(component(tmp_path / "data", input_config=config), tmp_path / "out")
    whole = tps.open_dataset(examples.uri)
    assert [str(field) for field in whole.schema] == ["id: int64 nullable", "extra: str nullable"]
    assert files_of(examples, "train")[0].stat().st_nlink == 2
    proto = schema_of([examples], tmp_path / "schema")
    assert [feature.name for feature in proto.feature] == ["id", "extra"]


def test_members_of_structs_become_columns(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"id": [1, 2], "who": pa.array([{"name": "a", "pay": 3}, None])})
    pq.write_table(table, tmp_path / "data" / "one.parquet")
    config = splits(train="*", eval="*")
    examples = generate(component(tmp_path / "data", input_config=config), tmp_path / "out")
    whole = tps.open_dataset(examples.uri)
    names = list(whole.schema.fields)
    assert len(names) == 3
    assert table_of(examples, "train").to_pydict() == dict(zip(names, [[1, 2], ["a", None], [3, None]], strict=True))


def test_columns_that_no_field_can_hold_are_refused_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"id": [1], "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))})
    pq.write_table(table, tmp_path / "data" / "one.parquet")
    config = splits(train="*", eval="*")
    with pytest.raises(tps.TfpetastormError, match="field 'map'"):
        generate(component(tmp_path / "data", input_config=config), tmp_path / "refused")
    examples = generate(component(tmp_path / "data", input_config=config, unmapped="omit"), tmp_path / "out")
    assert [feature.name for feature in schema_of([examples], tmp_path / "schema").feature] == ["id"]


def test_splits_of_different_schemas_are_refused(base: Path, tmp_path: Path) -> None:
    shutil.rmtree(base / "eval")
    schema = tps.Unischema("Other", [Field("id", np.int32)])
    with tps.DatasetWriter(base / "eval", schema) as writer:
        writer.write({"id": 1})
    with pytest.raises(SchemaMismatchError, match=r"eval and .*train have different schemas.*id: int32.*id: int64"):
        generate(component(base), tmp_path / "out")


def test_an_empty_split_is_told_of(base: Path, tmp_path: Path) -> None:
    shutil.rmtree(base / "eval")
    made = component(base)
    (base / "eval").mkdir()
    pq.write_table(pq.read_table(paths(base / "train")[0]).slice(0, 0), base / "eval" / "none.parquet")
    (base / "train" / "_common_metadata").unlink()
    with pytest.warns(DatasetWarning, match="the split 'eval' of the examples has no rows"):
        examples = generate(made, tmp_path / "out")
    assert (len(ids(examples, "train")), ids(examples, "eval")) == (40, [])


@pytest.mark.parametrize("pattern", ["eval", "eval/", "eval/*", "eval/*.parquet", "eval/**"])
def test_a_dataset_without_rows_is_an_empty_split(base: Path, tmp_path: Path, pattern: str) -> None:
    """Of a day on which nothing came there is a schema, and no file."""
    from tfx_bsl.tfxio.dataset_options import RecordBatchesOptions

    from tfpetastorm.tfxio import UnischemaTFXIO

    shutil.rmtree(base / "eval")
    with tps.DatasetWriter(base / "eval", SCHEMA):
        pass
    made = component(base, input_config=splits(train="train/*", eval=pattern))
    properties = resolved(made)
    assert "split:eval,num_files:0,total_bytes:0" in properties["input_fingerprint"]
    for lists in (False, True):
        made = component(base, input_config=splits(train="train/*", eval=pattern), arrow_lists=lists)
        with pytest.warns(DatasetWarning, match="the split 'eval' of the examples has no rows"):
            examples = generate(made, tmp_path / f"out-{lists}", properties if not lists else None)
        assert (len(ids(examples, "train")), ids(examples, "eval")) == (40, [])
        assert sorted(path.name for path in Path(examples.uri).iterdir()) == [
            "Split-eval",
            "Split-train",
            "_common_metadata",
        ]
        io = UnischemaTFXIO([f"{examples.uri}/Split-eval/*"])
        assert list(io.RecordBatches(RecordBatchesOptions(5, num_epochs=1))) == []
        assert io.ArrowSchema().names == list(SCHEMA.fields)
    with tps.DatasetWriter(base / "train", SCHEMA, mode="overwrite"):
        pass
    with pytest.raises(DatasetError, match="no input split has any file"):
        generate(component(base, input_config=splits(train="train/*", eval=pattern)), tmp_path / "none")
    other = tps.Unischema("Other", [Field("id", np.int8)])
    with tps.DatasetWriter(base / "eval", other, mode="overwrite"):
        pass
    write(base / "train", 0, 5, mode="overwrite")
    with pytest.raises(SchemaMismatchError, match="have different schemas"):
        generate(component(base, input_config=splits(train="train/*", eval=pattern)), tmp_path / "other")


@pytest.mark.parametrize(
    ("pattern", "reason"), [("test/*", "nothing matches"), ("test", "there is no"), ("*.csv", "nothing matches")]
)
def test_a_split_without_files_is_named(base: Path, pattern: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=rf"input split 'eval' can't be read: {reason}.*found the pattern"):
        resolved(component(base, input_config=splits(train="train/*", eval=pattern)))


def test_other_formats_and_damaged_files_are_named(base: Path, tmp_path: Path) -> None:
    (base / "csv").mkdir()
    (base / "csv" / "rows.csv").write_text("id\n1\n")
    with pytest.raises(DamagedDataError, match=r"rows\.csv"):
        generate(component(base, input_config=splits(train="train/*", eval="csv/*")), tmp_path / "one")
    path = paths(base / "train")[0]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedDataError, match=path.name):
        generate(component(base), tmp_path / "two")


def test_an_unfinished_dataset_is_refused(base: Path) -> None:
    writer = tps.DatasetWriter(base / "eval2", SCHEMA)
    writer.__enter__()
    writer.write({"id": 1, "name": None, "grid": np.zeros((2, 2), np.float32), "month": 1})
    try:
        with pytest.raises(DatasetError, match=r"'eval'.*never finished"):
            resolved(component(base, input_config=splits(train="train/*", eval="eval2")))
    finally:
        writer.__exit__(ValueError, ValueError(), None)


def test_damage_within_a_file_is_named_where_rows_are_read(base: Path, tmp_path: Path) -> None:
    path = paths(base / "train")[0]
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 12] = b"\xff" * 12
    path.write_bytes(content)
    made = component(base / "train", input_config=splits(single="*"))
    with pytest.raises(DamagedDataError, match=rf"{path.name}, row group 1"):
        generate(made, tmp_path / "out")


def test_an_artifact_can_be_taken_again(base: Path, tmp_path: Path) -> None:
    first = generate(component(base), tmp_path / "first")
    for number, (folder, config) in enumerate(
        [
            (first.uri, splits(train="Split-train/*", eval="Split-eval")),
            (f"{first.uri}/Split-train", splits(a="*", b="*")),
        ]
    ):
        again = generate(component(Path(folder), input_config=config), tmp_path / f"again{number}")
        assert tps.open_dataset(again.uri).schema == SCHEMA


def test_options_that_can_not_work_are_refused_when_the_pipeline_is_built(base: Path) -> None:
    class Local(tps.Codec):
        codec_name = "local"

    with pytest.raises(OptionError, match="mode='move'"):
        component(base, mode="move")
    with pytest.raises(OptionError, match="unmapped='drop'"):
        component(base, unmapped="drop")
    with pytest.raises(OptionError, match="class at the top of a module"):
        component(base, codecs=[Local])
