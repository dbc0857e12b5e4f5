"""Transform over Unischema Parquet, its graph in tf.data and in a served model: the same features everywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from ml_metadata import metadata_store
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx import v1 as tfx
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx_bsl.tfxio import dataset_options

import tfpetastorm as tps
from tests.tfx import kinds, modules
from tfpetastorm.errors import SchemaMismatchError
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx import (
    TransformExecutor,
    UnischemaStatisticsGen,
    UnischemaTrainer,
    UnischemaTransform,
    apply_transform_graph,
    with_data_accessor,
)
from tfpetastorm.tfxio import UnischemaTFXIO

FIELDS = [
    kinds.Field("row", np.int32),
    *kinds.SCHEMA,
    kinds.Field("halves", np.float32, (2,), kinds.HalvesCodec()),
]
SCHEMA = tps.Unischema("Kinds", FIELDS)
PROTO = unischema_to_schema(SCHEMA)
ROWS = {"train": kinds.make_rows(40, 1), "eval": kinds.make_rows(11, 2)}
for rows in ROWS.values():
    for number, row in enumerate(rows):
        row.update(row=number, halves=np.float32([number, -number / 2]))


@dataclass(frozen=True)
class Run:
    """A pipeline's artifacts: the folder of each output, by component and name, and its properties."""

    data: Path
    root: Path

    def folder(self, component: str, output: str) -> Path:
        (found,) = (self.root / component / output).iterdir()
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Examples that exist, imported as they are, through StatisticsGen, Transform and Trainer."""
    root = tmp_path_factory.mktemp("transform")
    for split, rows in ROWS.items():
        kinds.write_split(root / "data" / f"Split-{split}", rows, FIELDS)
    schema_folder = kinds.schema_artifact(root / "schema", PROTO).uri
    examples = tfx.dsl.Importer(
        source_uri=str(root / "data"),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
        custom_properties={"payload_format": "FORMAT_PARQUET", "file_format": "FILE_FORMAT_PARQUET"},
    ).with_id("Examples")
    schema = tfx.dsl.Importer(source_uri=schema_folder, artifact_type=standard_artifacts.Schema).with_id("Schema")
    given = {"examples": examples.outputs["result"], "schema": schema.outputs["result"], "codecs": [kinds.HalvesCodec]}
    statistics = UnischemaStatisticsGen(**given)
    transform = UnischemaTransform(preprocessing_fn="tests.tfx.modules.preprocessing_fn", **given)
    trainer = UnischemaTrainer(
        run_fn="tests.tfx.modules.run_fn", transform_graph=transform.outputs["transform_graph"], **given
    )
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="kinds",
        pipeline_root=str(root / "run"),
        components=[examples, schema, statistics, transform, trainer],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "mlmd")),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    return Run(root / "data", root / "run")


def raw_dataset(run: Run, split: str, schema: Any = PROTO, **options: Any) -> tf.data.Dataset:
    """Features as TFX reads them for training."""
    pattern = str(run.data / f"Split-{split}" / "*")
    tfxio = UnischemaTFXIO(pattern, schema=schema, codecs=[kinds.HalvesCodec])
    return tfxio.TensorFlowDataset(
        dataset_options.TensorFlowDatasetOptions(batch_size=7, shuffle=False, num_epochs=1, **options)
    )


def by_row(batches: Any) -> dict[str, list[Any]]:
    """All batches of dicts as one list a feature, in the order of the feature `row`."""
    found: dict[str, list[Any]] = {}
    for batch in batches:
        for name, tensor in batch.items():
            found.setdefault(name, []).extend(
                tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else list(tensor.numpy())
            )
    order = np.argsort(found["row"])
    return {name: [found[name][at] for at in order] for name in sorted(found)}


def assert_same(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    assert sorted(found) == sorted(expected)
    for name, cells in expected.items():
        assert len(found[name]) == len(cells)
        for one, other in zip(found[name], cells, strict=True):
            first, second = np.asarray(one), np.asarray(other)
            assert first.shape == second.shape, name
            if first.dtype.kind == "f" and first.size:
                np.testing.assert_allclose(first, second, rtol=1e-6, err_msg=name)
            else:
                assert first.tolist() == second.tolist(), name


@pytest.fixture(scope="module")
def expected(run: Run) -> dict[str, dict[str, list[Any]]]:
    """What TensorFlow Transform itself makes of each split's rows."""
    layer = tft.TFTransformOutput(str(run.folder("UnischemaTransform", "transform_graph"))).transform_features_layer()
    return {split: by_row(layer(batch) for batch in raw_dataset(run, split)) for split in ROWS}


def test_what_transform_analyzed_are_the_values_of_the_rows(
    run: Run, expected: dict[str, dict[str, list[Any]]]
) -> None:
    rows = ROWS["train"]
    values = np.array([row["f64"] for row in rows])
    np.testing.assert_allclose(
        expected["train"]["f64_z"], (values - values.mean()) / values.std(), rtol=1e-4, atol=1e-6
    )
    known = [row["i64"] is not None for row in ROWS["eval"]]
    assert expected["eval"]["known"] == known
    assert expected["eval"]["number"] == [float(row["i64"] or 0) / 2**40 for row in ROWS["eval"]]
    assert [len(cell) for cell in expected["eval"]["names_id"]] == [len(row["names"] or []) for row in ROWS["eval"]]
    halves = np.array([row["halves"] for row in rows])
    np.testing.assert_allclose(expected["train"]["halves"], halves - halves.mean(), rtol=1e-5)
    assert all(length > 60 for length in expected["train"]["photo_bytes"])


def test_materialized_examples_are_parquet_that_says_so(run: Run, expected: dict[str, dict[str, list[Any]]]) -> None:
    store = metadata_store.MetadataStore(
        tfx.orchestration.metadata.sqlite_metadata_connection_config(str(run.root.parent / "mlmd"))
    )
    folder = run.folder("UnischemaTransform", "transformed_examples")
    (made,) = [one for one in store.get_artifacts_by_type("Examples") if one.uri == str(folder)]
    assert made.custom_properties["payload_format"].string_value == "FORMAT_PARQUET"
    assert made.custom_properties["file_format"].string_value == "FILE_FORMAT_PARQUET"
    output = tft.TFTransformOutput(str(run.folder("UnischemaTransform", "transform_graph")))
    fn_args = with_data_accessor(FnArgs())
    for split in ROWS:
        options = dataset_options.TensorFlowDatasetOptions(batch_size=7, shuffle=False, num_epochs=1)
        schema = output.transformed_metadata.schema
        read = fn_args.data_accessor.tf_dataset_factory([str(folder / f"Split-{split}" / "*")], options, schema)
        assert_same(by_row(read), expected[split])
        assert {name: spec.dtype for name, spec in read.element_spec.items()} == {
            name: spec.dtype for name, spec in tft_specs(output).items()
        }


def test_artifacts_are_materialized_each_by_itself(run: Run, tmp_path: Path) -> None:
    """Such as several spans; and without analysis and statistics."""
    given = {
        "examples": [kinds.parquet_artifact(run.data, ["train", "eval"]) for _ in range(2)],
        "schema": [kinds.schema_artifact(tmp_path / "schema", PROTO)],
    }
    graph, examples = standard_artifacts.TransformGraph(), standard_artifacts.Examples()
    graph.uri, examples.uri = str(tmp_path / "graph"), str(tmp_path / "examples")
    made = {"transform_graph": [graph], "transformed_examples": [examples]}
    properties = {
        "preprocessing_fn": "tests.tfx.modules.passed",
        "disable_statistics": 1,
        "splits_config": '{"analyze": ["train"], "transform": ["eval"]}',
        "codecs": '["tests.tfx.kinds:HalvesCodec"]',
    }
    kinds.executor(TransformExecutor, tmp_path).Do(given, made, properties)
    schema = tft.TFTransformOutput(graph.uri).transformed_metadata.schema
    for number, one in enumerate(made["transformed_examples"]):
        assert one.uri == str(tmp_path / "examples" / str(number))
        assert examples_utils.get_payload_format(one) == example_gen_pb2.FORMAT_PARQUET
        assert examples_utils.get_file_format(one) == "FILE_FORMAT_PARQUET"
        assert [path.name for path in Path(one.uri).iterdir()] == ["Split-eval"]
        options = dataset_options.TensorFlowDatasetOptions(batch_size=7, shuffle=False, num_epochs=1)
        found = by_row(UnischemaTFXIO(f"{one.uri}/Split-eval/*", schema=schema).TensorFlowDataset(options))
        expected = by_row(raw_dataset(run, "eval"))
        assert_same(found, {name: expected[name] for name in ("row", "track", "boxes", "names")})
    assert len(made["transformed_examples"]) == 2


def tft_specs(output: Any) -> dict[str, Any]:
    return schema_utils.schema_as_feature_spec(output.transformed_metadata.schema).feature_spec


def test_transform_computes_statistics_before_and_after(run: Run) -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.ParseFromString(
        (run.folder("UnischemaTransform", "post_transform_anomalies") / "SchemaDiff.pb").read_bytes()
    )
    assert anomalies.baseline.feature
    # TFX's own schema names ragged features otherwise than it counts them, for tf.Examples as well.
    assert set(anomalies.anomaly_info) == {"names_id", "steps"}
    before = tfdv.load_stats_binary(str(run.folder("UnischemaTransform", "pre_transform_stats") / "FeatureStats.pb"))
    alone = tfdv.load_stats_binary(
        str(run.folder("UnischemaStatisticsGen", "statistics") / "Split-train" / "FeatureStats.pb")
    )
    assert before.datasets[0].num_examples == alone.datasets[0].num_examples == len(ROWS["train"])
    # Transform's own are of what the graph uses.
    kept = {feature.path.step[0]: feature for feature in alone.datasets[0].features}
    assert {feature.path.step[0] for feature in before.datasets[0].features} < set(kept)
    for feature in before.datasets[0].features:
        assert feature.num_stats.mean == kept[feature.path.step[0]].num_stats.mean


def test_the_graph_over_our_own_datasets_gives_the_features_of_transform(
    run: Run, expected: dict[str, dict[str, list[Any]]]
) -> None:
    graph = run.folder("UnischemaTransform", "transform_graph")
    outputs = [name for name in expected["eval"] if name != "photo_bytes"]
    for split in ROWS:
        dataset = tps.make_dataset(
            kinds.whole(run.data / f"Split-{split}"),
            batch_size=7,
            nulls="mask",
            codecs=[kinds.HalvesCodec],
            shuffle=True,
            seed=0,
        )
        found = by_row(apply_transform_graph(dataset, graph, outputs=outputs))
        assert_same(found, {name: expected[split][name] for name in outputs})
    assert_same(by_row(apply_transform_graph(raw_dataset(run, "eval"), graph)), expected["eval"])


def test_a_decoded_image_is_no_input_of_the_graph(run: Run) -> None:
    graph = run.folder("UnischemaTransform", "transform_graph")
    dataset = tps.make_dataset(kinds.whole(run.data / "Split-eval"), batch_size=7, fields=["photo"])
    with pytest.raises(SchemaMismatchError, match=r"take images in their encoding \(field 'photo'"):
        apply_transform_graph(dataset, graph, outputs=["photo_bytes"])


def test_the_trainer_read_all_rows_through_the_data_accessor(run: Run) -> None:
    seen = json.loads((run.folder("UnischemaTrainer", "model_run") / "seen.json").read_text())
    assert sorted(seen["train"]) == list(range(len(ROWS["train"])))
    assert seen["eval"] == len(ROWS["eval"])


def test_the_served_model_makes_the_features_of_training(run: Run, expected: dict[str, dict[str, list[Any]]]) -> None:
    """By each of its signatures, from raw features: nulls, lists and text among them."""
    served = tf.saved_model.load(str(run.folder("UnischemaTrainer", "model") / "Format-Serving"))
    signatures = served.signatures
    examples = kinds.write_split(run.data.parent / "again" / "data" / "Split-eval", ROWS["eval"], FIELDS)
    asked = sorted(signatures["transform_features"].structured_input_signature[1])
    assert asked == ["f64", "i64", "i64_length", "steps", "steps_length", "text"]  # and no label
    predictions = []
    for batch in raw_dataset(run, "eval"):
        raw = {name: batch[name] for name in ("f64", "i64", "steps", "text")}
        dense = {name: tensor for name, tensor in raw.items() if not isinstance(tensor, tf.RaggedTensor)}
        for name in ("i64", "steps"):
            dense |= {name: raw[name].to_tensor(-99), f"{name}_length": raw[name].row_lengths()}
        features = signatures["transform_features"](**dense)
        assert sorted(features) == sorted(modules.INPUTS)
        wanted = {name: [expected["eval"][name][at] for at in batch["row"].numpy()] for name in modules.INPUTS}
        assert_same({name: list(features[name].numpy()) for name in modules.INPUTS}, wanted)
        assert_same({name: list(tensor.numpy()) for name, tensor in served.transform_features(raw).items()}, wanted)
        outputs = signatures["serving_default"](**dense)["outputs"]
        of_examples = signatures["serving_tf_examples"](
            examples=tf.constant([examples[at] for at in batch["row"].numpy()])
        )["outputs"]
        for same in (of_examples, served.serve(raw)["outputs"]):
            np.testing.assert_allclose(same, outputs, rtol=1e-6)
        predictions += outputs.numpy()[:, 0].tolist()
    assert len(set(predictions)) > 1
