"""arrow_lists=True: TFX's own components, unmodified, read what UnischemaExampleGen makes; and a pipeline's cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.components.statistics_gen.executor import Executor as StatisticsGenExecutor
from tfx.orchestration import metadata
from tfx.types import standard_artifacts
from tfx_bsl.tfxio import dataset_options

import tfpetastorm as tps
from tests.tfx import kinds
from tests.tfx.generating import buckets, files_of, generate, schema_of, splits, table_of
from tfpetastorm.errors import DamagedDataError, EncodeError
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx import UnischemaExampleGen, UnischemaSchemaGen
from tfpetastorm.tfxio import UnischemaTFXIO

SCHEMA = tps.Unischema("Kinds", kinds.FLAT)
ROWS = {"train": kinds.make_rows(40, 1), "eval": kinds.make_rows(11, 2)}


def run(root: Path, components: int = 5) -> None:
    """The first of TFX's own components that read examples, all but those that only call a model."""
    config = splits(train="train/*", eval="eval/*")
    made = UnischemaExampleGen(str(root / "data"), input_config=config, arrow_lists=True)
    examples = made.outputs["examples"]
    schema = UnischemaSchemaGen(examples=examples)
    given = {"examples": examples, "schema": schema.outputs["schema"]}
    statistics = tfx.components.StatisticsGen(**given)
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = tfx.components.Transform(preprocessing_fn="tests.tfx.generating.as_lists", **given)
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="lists",
        pipeline_root=str(root / "pipeline"),
        components=[made, schema, statistics, validator, transform][:components],
        enable_cache=True,
        metadata_connection_config=connection(root),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)


def connection(root: Path) -> Any:
    return tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))


def write(root: Path) -> None:
    for split, rows in ROWS.items():
        with tps.DatasetWriter(root / "data" / split, SCHEMA, row_group_rows=9, petastorm_compatible=False) as writer:
            for row in rows:
                writer.write({name: row[name] for name in SCHEMA.fields})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lists")
    write(root)
    run(root)
    return root


def folder(root: Path, component: str, output: str) -> Path:
    return max((root / "pipeline" / component / output).iterdir(), key=lambda path: int(path.name))


def test_columns_are_the_lists_that_tfx_has_for_the_schema(root: Path) -> None:
    from tfx_bsl.coders import csv_decoder

    examples = kinds.parquet_artifact(folder(root, "UnischemaExampleGen", "examples"), ["train", "eval"])
    wanted = csv_decoder.GetArrowSchema(list(SCHEMA.fields), unischema_to_schema(SCHEMA))
    for split, rows in ROWS.items():
        table = table_of(examples, split)
        assert [(one.name, str(one.type.value_type)) for one in table.schema] == [
            (one.name, str(one.type.value_type)) for one in wanted
        ]
        assert {str(one.type).split("<")[0] for one in table.schema} == {"large_list"}
        assert table["note"].to_pylist() == [None if one["note"] is None else [one["note"].encode()] for one in rows]
        assert table["grid"].to_pylist() == [one["grid"].reshape(-1).tolist() for one in rows]


def test_tfxs_own_statistics_are_those_of_tf_examples(root: Path, tmp_path: Path) -> None:
    for split, rows in ROWS.items():
        examples = kinds.write_split(tmp_path / "spare" / split, rows, kinds.FLAT)
        kinds.write_examples(tmp_path / "examples" / f"Split-{split}" / "data.gz", examples)
    made = standard_artifacts.ExampleStatistics()
    made.uri = str(tmp_path / "statistics")
    kinds.executor(StatisticsGenExecutor, tmp_path).Do(
        {
            "examples": [kinds.artifact(tmp_path / "examples", list(ROWS), "FORMAT_TF_EXAMPLE", "tfrecords_gzip")],
            "schema": [kinds.schema_artifact(tmp_path / "schema", unischema_to_schema(SCHEMA))],
        },
        {"statistics": [made]},
        {},
    )
    ours = folder(root, "StatisticsGen", "statistics")
    for split in ROWS:
        name = f"Split-{split}/FeatureStats.pb"
        assert as_dict(ours / name) == as_dict(tmp_path / "statistics" / name)


def as_dict(path: Path) -> dict[str, Any]:
    (dataset,) = tfdv.load_stats_binary(str(path)).datasets
    found = json_format.MessageToDict(dataset)
    return found | {"features": {"/".join(one["path"]["step"]): one for one in found["features"]}}


def test_tfxs_own_validator_finds_nothing_to_say(root: Path) -> None:
    for split in ROWS:
        path = folder(root, "ExampleValidator", "anomalies") / f"Split-{split}" / "SchemaDiff.pb"
        assert not anomalies_pb2.Anomalies.FromString(path.read_bytes()).anomaly_info


def test_tfxs_own_transform_gives_its_features(root: Path) -> None:
    files = sorted((folder(root, "Transform", "transformed_examples") / "Split-train").iterdir())
    table = pa.concat_tables([pq.read_table(path) for path in files])
    found = sorted(zip(table["id"].to_pylist(), table["steps"].to_pylist(), table["grid"].to_pylist(), strict=True))
    rows = ROWS["train"]
    assert found == sorted(([one["i8"]], one["steps"].tolist(), one["grid"].reshape(-1).tolist()) for one in rows)
    mean = np.mean([one["f64"] for one in rows])
    centred = np.sort([value for (value,) in table["centred"].to_pylist()])
    np.testing.assert_allclose(centred, np.sort([one["f64"] - mean for one in rows]), atol=1e-5)


def states(root: Path) -> list[str]:
    """How each execution of ExampleGen ended, in order."""
    with metadata.Metadata(connection(root)) as handle:
        found = handle.store.get_executions_by_type("tfpetastorm.tfx.example_gen.component.UnischemaExampleGen")
    ordered = sorted(found, key=lambda one: one.id)
    return [metadata_store_pb2.Execution.State.Name(one.last_known_state) for one in ordered]


def test_a_second_run_is_served_from_the_cache_and_a_changed_file_is_not(root: Path) -> None:
    assert states(root) == ["COMPLETE"]
    run(root)
    assert states(root) == ["COMPLETE", "CACHED"]
    path = next((root / "data" / "eval").glob("*.parquet"))
    os.utime(path, ns=(1, 1))
    run(root, 1)
    assert states(root) == ["COMPLETE", "CACHED", "COMPLETE"]


def test_our_own_components_read_the_lists_as_what_they_were_made_of(root: Path, tmp_path: Path) -> None:
    """As by `with_data_accessor`, which a Trainer needs either way."""
    config = splits(train="train/*", eval="eval/*")
    linked = generate(UnischemaExampleGen(str(root / "data"), input_config=config), tmp_path / "linked")
    listed = kinds.parquet_artifact(folder(root, "UnischemaExampleGen", "examples"), ["train", "eval"])
    proto = schema_of([listed], tmp_path / "schema")
    options = dataset_options.TensorFlowDatasetOptions(batch_size=40, shuffle=False, num_epochs=1)
    one, other = (
        UnischemaTFXIO(f"{examples.uri}/Split-train/*", schema=proto).TensorFlowDataset(options)
        for examples in (linked, listed)
    )
    assert one.element_spec == other.element_spec
    for first, second in zip(one, other, strict=True):
        for name, tensor in first.items():
            np.testing.assert_array_equal(dense(second[name]), dense(tensor), err_msg=name)


def dense(tensor: Any) -> Any:
    return tensor.to_tensor().numpy() if hasattr(tensor, "to_tensor") else tensor.numpy()


def test_rows_are_split_anew_and_made_lists_at_once(root: Path, tmp_path: Path) -> None:
    config = buckets(one=1, two=1)
    source, stored = str(root / "data" / "train"), tmp_path / "stored"
    given = {"input_config": splits(all="*"), "output_config": config}
    listed = generate(UnischemaExampleGen(source, arrow_lists=True, **given), tmp_path / "lists")
    as_is = generate(UnischemaExampleGen(source, **given), stored)
    assert schema_of([listed], tmp_path / "schema") == unischema_to_schema(SCHEMA)
    for split in ("one", "two"):
        # The same rows in either form.
        texts = [one.encode() for one in table_of(as_is, split)["text"].to_pylist()]
        assert [one for (one,) in table_of(listed, split)["text"].to_pylist()] == texts
        assert len(texts) > 5


def test_lists_of_lists_keep_their_levels(tmp_path: Path) -> None:
    schema = tps.Unischema("Nested", kinds.NESTED)
    rows = kinds.make_rows(9)
    with tps.DatasetWriter(tmp_path / "data", schema) as writer:
        for row in rows:
            writer.write({name: row[name] for name in schema.fields})
    component = UnischemaExampleGen(str(tmp_path / "data"), input_config=splits(a="*", b="*"), arrow_lists=True)
    table = table_of(generate(component, tmp_path / "out"), "a")
    assert table["track"].to_pylist() == [one["track"].tolist() for one in rows]
    assert table["boxes"].to_pylist() == [
        one["boxes"] if one["boxes"] is None else one["boxes"].tolist() for one in rows
    ]


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("damage", ["cell", "uint64"])
def test_what_lists_can_not_hold_is_named(tmp_path: Path, damage: str, anew: bool) -> None:
    schema = tps.Unischema(
        "Bad", [kinds.Field("u64", np.uint64), kinds.Field("grid", np.int32, (2,), tps.NdarrayCodec())]
    )
    with tps.DatasetWriter(tmp_path / "data", schema, row_group_rows=4) as writer:
        for number in range(8):
            value = 2**63 if (damage, number) == ("uint64", 6) else number
            writer.write({"u64": value, "grid": np.array([number, 0], np.int32)})
    (path,) = (tmp_path / "data").glob("*.parquet")
    if damage == "cell":
        table = pq.read_table(path)
        cells = [cell if at != 6 else b"damaged" for at, cell in enumerate(table["grid"].to_pylist())]
        kept = pq.ParquetFile(path).schema_arrow
        pq.write_table(table.set_column(1, kept.field("grid"), pa.array(cells, pa.binary())), path, row_group_size=4)
    given = {"input_config": splits(all="*"), "output_config": buckets(a=1, b=1)} if anew else {}
    given = given or {"input_config": splits(a="*", b="*")}
    component = UnischemaExampleGen(str(tmp_path / "data"), arrow_lists=True, **given)
    error, field = (DamagedDataError, "grid") if damage == "cell" else (EncodeError, "u64")
    with pytest.raises(error, match=rf"field '{field}', file .*{path.name}, row group 1, row 2\)"):
        generate(component, tmp_path / "out")
    assert not files_of(kinds.parquet_artifact(tmp_path / "out", ["a"]), "a")
