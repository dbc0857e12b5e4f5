"""UnischemaSchemaGen: the schema that is stored, as TFX's proto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.tfx.generating import generate, schema_of, splits
from tests.tfx.kinds import SCHEMA, artifact, make_rows, parquet_artifact
from tfpetastorm.errors import DatasetError, SchemaMismatchError
from tfpetastorm.tfmd import schema_to_unischema, unischema_to_schema

Field = tps.UnischemaField


class Reversed(tps.Codec):
    """Bytes, back to front: a codec that only its owner knows."""

    codec_name = "reversed"

    def arrow_type(self, field: Any) -> pa.DataType:
        return pa.binary()

    def encode(self, field: Any, value: Any) -> bytes:
        return np.asarray(value, np.int64).tobytes()[::-1]

    def decode_cell(self, field: Any, cell: memoryview, limits: Any) -> Any:
        return np.frombuffer(bytes(cell)[::-1], np.int64)


def write(folder: Path, schema: tps.Unischema = SCHEMA, rows: Any = None, **options: Any) -> None:
    with tps.DatasetWriter(folder, schema, **options) as writer:
        for row in make_rows(12) if rows is None else rows:
            writer.write(row)


def examples_of(data: Path, uri: Path, **options: Any) -> Any:
    from tfpetastorm.tfx import UnischemaExampleGen

    return generate(UnischemaExampleGen(str(data), input_config=splits(train="*", eval="*"), **options), uri)


@pytest.mark.parametrize("lists", [False, True])
def test_the_schema_is_the_stored_one(tmp_path: Path, lists: bool) -> None:
    write(tmp_path / "data", petastorm_compatible=False)
    examples = examples_of(tmp_path / "data", tmp_path / "out", arrow_lists=lists)
    proto = schema_of([examples], tmp_path / "schema")
    assert proto == unischema_to_schema(SCHEMA)
    assert schema_to_unischema(proto) == SCHEMA


def test_own_codecs_are_imported(tmp_path: Path) -> None:
    schema = tps.Unischema("Own", [Field("id", np.int64), Field("pair", np.int64, (2,), Reversed())])
    write(tmp_path / "data", schema, [{"id": 1, "pair": np.array([3, 4])}], petastorm_compatible=False)
    examples = examples_of(tmp_path / "data", tmp_path / "out")
    known = schema_of([examples], tmp_path / "known", codecs=[Reversed])
    assert schema_to_unischema(known, codecs=[Reversed]) == schema
    unknown = schema_of([examples], tmp_path / "unknown")
    assert [feature.name for feature in unknown.feature] == ["id", "pair"]
    assert unknown.feature[1].type == 1  # BYTES: what is stored
    listed = examples_of(tmp_path / "data", tmp_path / "lists", arrow_lists=True, codecs=[Reversed])
    (path,) = Path(listed.uri, "Split-train").iterdir()
    assert pq.read_table(path)["pair"].to_pylist() == [[3, 4]]


def test_splits_that_others_made_need_no_metadata_above_them(tmp_path: Path) -> None:
    """Such as an Importer hands on."""
    for split in ("train", "eval"):
        write(tmp_path / "out" / f"Split-{split}", petastorm_compatible=False)
    examples = parquet_artifact(tmp_path / "out", ["train", "eval"])
    assert schema_of([examples], tmp_path / "schema") == unischema_to_schema(SCHEMA)
    for split in ("train", "eval"):
        folder = tmp_path / "plain" / f"Split-{split}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": [1], "word": ["x"]}), folder / "one.parquet")
    plain = schema_of([parquet_artifact(tmp_path / "plain", ["train", "eval"])], tmp_path / "plain-schema")
    assert [str(field) for field in schema_to_unischema(plain)] == ["id: int64 nullable", "word: str nullable"]


def test_schemas_that_differ_are_refused(tmp_path: Path) -> None:
    for split, kind in (("train", pa.int64()), ("eval", pa.string())):
        folder = tmp_path / "out" / f"Split-{split}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": pa.array([1]).cast(kind)}), folder / "one.parquet")
    with pytest.raises(SchemaMismatchError, match=r"'train' and 'eval'.*id: int64.*id: str"):
        schema_of([parquet_artifact(tmp_path / "out", ["train", "eval"])], tmp_path / "schema")
    two = [parquet_artifact(tmp_path / "out", [split]) for split in ("train", "eval")]
    write(tmp_path / "other" / "Split-eval", petastorm_compatible=False)
    two[1] = parquet_artifact(tmp_path / "other", ["eval"])
    with pytest.raises(SchemaMismatchError, match=r"the examples at .*out and .*other have different schemas"):
        schema_of(two, tmp_path / "two")


def test_examples_in_another_format_are_refused(tmp_path: Path) -> None:
    examples = artifact(tmp_path, ["train"], "FORMAT_TF_EXAMPLE", "tfrecords_gzip")
    with pytest.raises(DatasetError, match=r"expected FORMAT_PARQUET, found FORMAT_TF_EXAMPLE.*UnischemaExampleGen"):
        schema_of([examples], tmp_path / "schema")
