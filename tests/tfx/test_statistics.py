"""Statistics of Unischema Parquet are those that TFDV has for tf.Examples of the same rows."""

from __future__ import annotations

import threading
import types
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen.executor import Executor
from tfx.components.util import tfxio_utils
from tfx.types import Channel, standard_artifacts
from tfx_bsl.public.proto import slicing_spec_pb2
from tfx_bsl.tfxio import parquet_tfxio

import tfpetastorm as tps
from tests.tfx import kinds
from tfpetastorm.errors import MissingPackageError, OptionError
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx import StatisticsGenExecutor, UnischemaStatisticsGen, unischema_tfxio
from tfpetastorm.tfx.hook import Hook
from tfpetastorm.tfxio import UnischemaTFXIO

ROWS = {"train": kinds.make_rows(40, 1), "eval": kinds.make_rows(11, 2)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows as Parquet and as tf.Examples."""
    root = tmp_path_factory.mktemp("statistics")
    for split, rows in ROWS.items():
        examples = kinds.write_split(root / "parquet" / f"Split-{split}", rows)
        kinds.write_examples(root / "examples" / f"Split-{split}" / "data.gz", examples)
    return root


def statistics(kind: Any, folder: Path, examples: Any, schema: Any = None, **properties: Any) -> dict[str, Any]:
    """By split what an executor of StatisticsGen writes."""
    made = standard_artifacts.ExampleStatistics()
    made.uri = str(folder)
    inputs = {"examples": [examples]} | ({} if schema is None else {"schema": [schema]})
    kinds.executor(kind, folder).Do(inputs, {"statistics": [made]}, properties)
    return {
        path.parent.name.removeprefix("Split-"): tfdv.load_stats_binary(str(path))
        for path in folder.glob("Split-*/FeatureStats.pb")
    }


def as_dict(made: Any) -> dict[str, Any]:
    """One dataset's statistics, whole, the features by name."""
    (dataset,) = made.datasets
    found = json_format.MessageToDict(dataset)
    return found | {"features": {"/".join(one["path"]["step"]): one for one in found["features"]}}


@pytest.mark.parametrize(("with_schema", "splits"), [(True, ["train", "eval"]), (False, ["eval"])])
def test_they_equal_those_of_tf_examples(root: Path, tmp_path: Path, with_schema: bool, splits: list[str]) -> None:
    schema = kinds.schema_artifact(tmp_path / "schema", unischema_to_schema(kinds.SCHEMA)) if with_schema else None
    parquet = kinds.parquet_artifact(root / "parquet", splits)
    examples = kinds.artifact(root / "examples", splits, "FORMAT_TF_EXAMPLE", "tfrecords_gzip")
    ours = statistics(StatisticsGenExecutor, tmp_path / "ours", parquet, schema)
    theirs = statistics(Executor, tmp_path / "theirs", examples, schema)
    assert sorted(ours) == sorted(theirs) == sorted(splits)
    for split in splits:
        found, expected = as_dict(ours[split]), as_dict(theirs[split])
        nested = [found["features"].pop(field.name) for field in kinds.NESTED]
        assert all(int(one["numStats"]["commonStats"]["numNonMissing"]) for one in nested)
        assert found == expected
        assert found["numExamples"] == str(len(ROWS[split]))
        assert set(found["features"]) == {field.name for field in kinds.FLAT}
    if with_schema:
        assert not tfdv.validate_statistics(ours["train"], unischema_to_schema(kinds.SCHEMA)).anomaly_info


def test_slices_equal_but_for_features_without_any_value(tmp_path: Path) -> None:
    """These are listed, missing in all rows, in a slice as in a split, and no anomaly."""
    fields = [one for one in kinds.FLAT if one.name in ("maybe", "note", "price", "names", "text", "f32", "sketch")]
    rows = [row | {"price": None, "note": None if row["text"] == "a" else row["note"]} for row in ROWS["train"]]
    examples = kinds.write_split(tmp_path / "parquet" / "Split-train", rows, fields)
    kinds.write_examples(tmp_path / "examples" / "Split-train" / "data.gz", examples)
    slicing = slicing_spec_pb2.SlicingSpec(feature_keys=["text"])
    config = slicing_spec_pb2.SlicingConfig(slicing_specs=[slicing])
    options = {"stats_options_json": tfdv.StatsOptions(slicing_config=config).to_json()}
    theirs = kinds.artifact(tmp_path / "examples", ["train"], "FORMAT_TF_EXAMPLE", "tfrecords_gzip")
    expected = statistics(Executor, tmp_path / "theirs", theirs, **options)["train"]
    ours = kinds.parquet_artifact(tmp_path / "parquet", ["train"])
    found = statistics(StatisticsGenExecutor, tmp_path / "ours", ours, **options)["train"]

    slices: dict[str, Any] = {one.name: one for one in expected.datasets}
    assert set(slices) == {one.name for one in found.datasets}
    assert {"All Examples", "text_a", "text_日本"} < set(slices)
    for one in found.datasets:
        features = {feature.path.step[0]: feature for feature in one.features}
        for name in ["price", "note"] if one.name == "text_a" else ["price"]:
            assert features[name].string_stats.common_stats.num_missing == one.num_examples > 0
        wanted = {feature.path.step[0]: feature for feature in slices[one.name].features}
        del features["price"]
        # TFDV lists what some row of a batch has, in slices without it too.
        assert wanted == features
        schema = unischema_to_schema(tps.Unischema("Kinds", fields))
        assert not tfdv.validate_statistics(single(one), schema).anomaly_info


def single(dataset: Any) -> Any:
    """Statistics of one dataset alone."""
    made = statistics_pb2.DatasetFeatureStatisticsList()
    made.datasets.add().CopyFrom(dataset)
    return made


def test_lists_of_lists_have_the_statistics_of_such_lists(root: Path, tmp_path: Path) -> None:
    """Which tf.Examples can't say: TFDV's own of the same values in Arrow."""
    ours = statistics(StatisticsGenExecutor, tmp_path / "ours", kinds.parquet_artifact(root / "parquet", ["train"]))
    found = as_dict(ours["train"])["features"]
    rows = ROWS["train"]
    columns = {
        "track": pa.array([row["track"].tolist() for row in rows], nested_list(pa.float32())),
        "boxes": pa.array([row["boxes"] if row["boxes"] is None else row["boxes"].tolist() for row in rows],
                          nested_list(pa.int64())),
    }  # fmt: skip
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    path = str(tmp_path / "theirs.pb")
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([batch]) | tfdv.GenerateStatistics() | tfdv.WriteStatisticsToBinaryFile(path)
    assert {name: found[name] for name in columns} == as_dict(tfdv.load_stats_binary(path))["features"]


def nested_list(values: pa.DataType) -> pa.DataType:
    return pa.large_list(pa.large_list(values))


def test_own_codecs_reach_the_executor_as_an_execution_property(tmp_path: Path) -> None:
    fields = [kinds.Field("halves", np.float32, (2,), kinds.HalvesCodec())]
    rows = [{"halves": np.float32([number, number / 2])} for number in range(4)]
    kinds.write_split(tmp_path / "data" / "Split-train", rows, fields)
    examples = Channel(type=standard_artifacts.Examples)
    component = UnischemaStatisticsGen(examples=examples, codecs=[kinds.HalvesCodec])
    given = component.exec_properties["codecs"]
    assert given == '["tests.tfx.kinds:HalvesCodec"]'
    artifact = kinds.parquet_artifact(tmp_path / "data", ["train"])
    found = as_dict(statistics(StatisticsGenExecutor, tmp_path / "with", artifact, codecs=given)["train"])
    assert found["features"]["halves"]["numStats"]["max"] == 3.0
    # Whoever lacks the codec sees the bytes that are stored.
    found = as_dict(statistics(StatisticsGenExecutor, tmp_path / "without", artifact)["train"])
    assert found["features"]["halves"]["type"] == "STRING"
    assert "codecs" not in UnischemaStatisticsGen(examples=examples).exec_properties


def test_codecs_that_an_executor_could_not_import_are_refused(tmp_path: Path) -> None:
    class Local(kinds.HalvesCodec):
        codec_name = "tests.tfx.local"

    examples = Channel(type=standard_artifacts.Examples)
    with pytest.raises(OptionError, match=r"expected a class at the top of a module, found .*<locals>"):
        UnischemaStatisticsGen(examples=examples, codecs=[Local])
    with pytest.raises(OptionError, match="codecs takes codec classes"):
        UnischemaStatisticsGen(examples=examples, codecs=["tests.tfx.kinds:HalvesCodec"])
    artifact = kinds.parquet_artifact(tmp_path, ["train"])
    for given, said in (
        ('["tests.tfx.kinds:Gone"]', "expected Gone in the module tests.tfx.kinds, found module"),
        ('["pathlib:Path"]', "codecs takes codec classes"),
    ):
        with pytest.raises(OptionError, match=said):
            statistics(StatisticsGenExecutor, tmp_path / "out", artifact, codecs=given)


def test_tfx_reads_as_ever_outside_of_a_scope(root: Path) -> None:
    def made(payload: str = "FORMAT_PARQUET", data: str = "parquet") -> type:
        pattern = str(root / data / "Split-train" / "*")
        return type(tfxio_utils.make_tfxio(file_pattern=pattern, telemetry_descriptors=["x"], payload_format=payload))

    assert made() is parquet_tfxio.ParquetTFXIO
    found: list[type] = []
    beside = threading.Thread(target=lambda: found.append(made()))
    with pytest.raises(ZeroDivisionError), unischema_tfxio():
        assert made() is UnischemaTFXIO
        with unischema_tfxio([kinds.HalvesCodec]):
            assert made() is UnischemaTFXIO
        assert made() is UnischemaTFXIO
        assert made("FORMAT_TF_EXAMPLE", "examples").__name__ == "TFExampleRecord"
        beside.start()
        beside.join()
        raise ZeroDivisionError
    assert found == [parquet_tfxio.ParquetTFXIO]
    assert tfxio_utils.parquet_tfxio is parquet_tfxio
    assert made() is parquet_tfxio.ParquetTFXIO
    assert tps.open_dataset(root / "parquet" / "Split-train").num_rows == 40


def test_a_tfx_that_reads_parquet_in_another_way_is_refused() -> None:
    module = types.SimpleNamespace(__name__="tfx.components.util.tfxio_utils", parquet_tfxio=types.SimpleNamespace())
    hook = Hook(module, "parquet_tfxio", "ParquetTFXIO", lambda own: own)
    with (
        pytest.raises(
            MissingPackageError, match=r"expected tfx\.components\.util\.tfxio_utils\.parquet_tfxio\.ParquetTFXIO"
        ),
        hook.held(),
    ):
        pass
