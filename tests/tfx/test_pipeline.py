"""A whole pipeline, from Parquet to a pushed model: what ran, what came from cache, and that it is all true."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
from rich.console import Console
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.orchestration.pipeline import RunOptions
from tfx.utils import io_utils
from tfx_bsl.public import tfxio

import tfpetastorm as tps
from examples.flights.__main__ import Step, bars, blessed, executions, forecasts, latest, off_by, run
from examples.flights.data import SCHEMA
from examples.flights.pipeline import LABEL, flights_pipeline
from tfpetastorm.errors import SchemaMismatchError
from tfpetastorm.tfmd import schema_to_unischema
from tfpetastorm.tfx import apply_transform_graph, evaluation
from tfpetastorm.tfxio import UnischemaTFXIO

ROOT = Path(__file__).parents[2]
COMPONENTS = [
    "UnischemaExampleGen", "UnischemaSchemaGen", "UnischemaStatisticsGen", "ExampleValidator", "UnischemaTransform",
    "Trainer", "UnischemaEvaluator", "Pusher",
]  # fmt: skip
EPOCHS = 4
#: A tenth of them: the rows of the first runs.
FLIGHTS = {"train": 30_038, "eval": 2_702}


@dataclass(frozen=True)
class Demo:
    """The folder in which `make tfx-demo` ran, what it said, and its two runs."""

    folder: Path
    said: str
    runs: list[list[Step]]

    def artifact(self, component: str, output: str) -> Path:
        """The first that there was."""
        found: Path = min((self.folder / "pipeline" / component / output).iterdir(), key=lambda path: int(path.name))
        return found

    @property
    def pushed(self) -> Path:
        (version,) = (self.folder / "pushed").iterdir()
        return version

    @property
    def schema(self) -> Any:
        return io_utils.SchemaReader().read(str(self.artifact("UnischemaSchemaGen", "schema") / "schema.pbtxt"))

    def rows(self, batch_size: int = 1000) -> Any:
        """The batches of December, as tensors, all features."""
        examples = self.artifact("UnischemaExampleGen", "examples") / "Split-eval"
        options = tfxio.TensorFlowDatasetOptions(batch_size=batch_size, num_epochs=1, shuffle=False)
        return UnischemaTFXIO(f"{examples}/*", schema=self.schema).TensorFlowDataset(options)

    def pipeline(self, **changed: Any) -> Any:
        data, root, pushed = (self.folder / name for name in ("data", "pipeline", "pushed"))
        return flights_pipeline(data, root, pushed, **{"epochs": EPOCHS, **changed})


def states(steps: list[Step]) -> dict[str, str]:
    return {step.component: step.state for step in steps}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("flights")
    done = subprocess.run(
        [sys.executable, "-m", "examples.flights", "--folder", str(folder), "--every", "10", "--epochs", str(EPOCHS)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=560, env=os.environ | {"COLUMNS": "150"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "pipeline.log").read_text()[-5000:]
    assert not done.stderr
    steps = list(executions(folder / "pipeline").values())
    return Demo(folder, done.stdout, [steps[: len(COMPONENTS)], steps[len(COMPONENTS) :]])


def test_the_latest_artifact_is_that_of_the_greatest_number(tmp_path: Path) -> None:
    assert latest([tmp_path / "2", tmp_path / "11", tmp_path / "9"]) == tmp_path / "11"


def test_all_components_run_once_and_then_come_from_cache(demo: Demo) -> None:
    assert states(demo.runs[0]) == dict.fromkeys(COMPONENTS, "COMPLETE")
    assert states(demo.runs[1]) == dict.fromkeys(COMPONENTS, "CACHED")


def test_what_is_printed_tells_what_ran_and_how_good_the_model_is(demo: Demo) -> None:
    for component in COMPONENTS:
        assert re.search(rf"^{component} +\d+\.\d s +cached$", demo.said, re.MULTILINE), demo.said
    said = re.search(r"^all +2,702 +([\d.]+) min +([\d.]+) min +([\d.]+)%", demo.said, re.MULTILINE)
    assert said, demo.said
    before, forecast, less = map(float, said.groups())
    # The error of "as late as it left" is a fact of the table.
    assert before == 13.48
    assert forecast < 12.3
    assert less > 8
    assert str(demo.pushed) in demo.said
    picture = cv2.imread(str(demo.folder / "flights.png"))
    assert picture is not None
    assert picture.std() > 10


def test_without_matplotlib_the_errors_are_drawn_as_bars() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bars(["Delta Air Lines", "Envoy Air"], np.array([[10.0, 5.0], [4.0, 8.0]]), width=20))
    first, second = console.export_text().splitlines()
    assert first == f"Delta Air Lines  {'█' * 10}{'░' * 10} 10.0 → 5.0 min"
    assert second == f"Envoy Air        {'█' * 8}{'░' * 8} 4.0 → 8.0 min"


def test_the_examples_are_the_files_of_the_dataset(demo: Demo) -> None:
    """Parquet itself, and none of it copied."""
    examples = demo.artifact("UnischemaExampleGen", "examples")
    for split, rows in FLIGHTS.items():
        linked = sorted((examples / f"Split-{split}").iterdir())
        assert {path.stat().st_ino for path in linked} == {
            path.stat().st_ino for path in (demo.folder / "data" / split).glob("*.parquet")
        }
        assert sum(pq.read_metadata(path).num_rows for path in linked) == rows


def test_the_schema_is_the_datasets_and_no_statistics_contradict_it(demo: Demo) -> None:
    assert schema_to_unischema(demo.schema) == SCHEMA
    for split, rows in FLIGHTS.items():
        path = demo.artifact("UnischemaStatisticsGen", "statistics") / f"Split-{split}" / "FeatureStats.pb"
        (statistics,) = tfdv.load_stats_binary(str(path)).datasets
        assert statistics.num_examples == rows
        assert {one.path.step[0] for one in statistics.features} == set(SCHEMA.fields)
        found = demo.artifact("ExampleValidator", "anomalies") / f"Split-{split}" / "SchemaDiff.pb"
        anomalies = anomalies_pb2.Anomalies.FromString(found.read_bytes())
        assert not anomalies.anomaly_info
        assert not anomalies.HasField("dataset_anomaly_info")
    zeros = next(one for one in statistics.features if one.path.step[0] == "dep_delay").num_stats
    stored = pq.read_table(demo.folder / "data" / "eval", columns=["dep_delay"])["dep_delay"].to_numpy()
    assert zeros.num_zeros == (stored == 0).sum() > 100
    assert zeros.common_stats.num_missing == 0


def test_the_evaluation_is_of_what_the_pushed_model_gives(demo: Demo) -> None:
    """Every metric, computed anew from the pushed model's forecasts of the rows that are stored."""
    schema = demo.artifact("UnischemaSchemaGen", "schema") / "schema.pbtxt"
    found = forecasts(demo.pushed, demo.folder / "data", schema)
    result = tfma.load_eval_result(str(demo.artifact("UnischemaEvaluator", "evaluation")))
    slices = {key: values[""][""] for key, values in result.slicing_metrics}
    expected: dict[Any, Any] = {(): slice(None)}
    for name in ("origin", "carrier"):
        expected |= {((name, value),): found[name] == value for value in np.unique(found[name])}
    assert slices.keys() == expected.keys()
    for key, chosen in expected.items():
        assert slices[key]["example_count"]["doubleValue"] == len(found["arrived"][chosen])
        np.testing.assert_allclose(
            slices[key]["mean_absolute_error"]["doubleValue"], off_by(found, chosen)[1], rtol=1e-4
        )
    validated = tfma.load_validation_result(str(demo.artifact("UnischemaEvaluator", "evaluation")))
    assert validated.validation_ok


def raw_features(folder: Path, rows: int) -> dict[str, np.ndarray]:
    """The first rows as a client of the served model has them, made without any of the pipeline's code."""
    found: dict[str, np.ndarray] = {}
    batch = next(iter(tps.make_dataset(folder, batch_size=rows, nulls="mask")))
    for name, field in SCHEMA.fields.items():
        value = batch[name]
        if isinstance(value, tf.RaggedTensor):
            found[name], found[f"{name}_length"] = value.to_tensor().numpy(), value.row_lengths().numpy()
        elif field.nullable:
            found[f"{name}_length"] = batch[f"{name}_valid"].numpy().astype(np.int64)
            found[name] = value.numpy()[:, None]
        else:
            found[name] = value.numpy()
    return {name: value.astype(np.int64) if value.dtype.kind in "iub" else value for name, value in found.items()}


def test_raw_features_are_served_as_the_model_was_trained_on_them(demo: Demo) -> None:
    model = tf.saved_model.load(str(demo.pushed))
    transform = demo.artifact("UnischemaTransform", "transform_graph")
    rows = next(iter(demo.rows(500)))
    trained_on = next(iter(apply_transform_graph(tf.data.Dataset.from_tensors(rows), transform)))

    served = model.signatures["transform_features"]
    raw = raw_features(demo.folder / "data" / "eval", 500)
    given = {name: tf.constant(raw[name]) for name in served.structured_input_signature[1]}
    features = served(**given)
    assert set(features) == set(trained_on)
    for name, value in trained_on.items():
        np.testing.assert_array_equal(features[name], value, err_msg=name)
    # They vary: equal zeros would prove nothing.
    assert np.std(features["numbers"], axis=0).min() > 0

    asked = model.serve.concrete_functions[0].structured_input_signature[0][0]
    forecast = model.serve({name: rows[name] for name in asked})[LABEL]
    np.testing.assert_allclose(model.signatures["serving_default"](**given)[LABEL], forecast, rtol=1e-5)
    assert np.abs(forecast[:, 0] - raw["arr_delay"]).mean() < np.abs(raw["dep_delay"] - raw["arr_delay"]).mean()


@pytest.mark.parametrize("signature", ["serve", "serving_tf_examples"])
def test_other_signatures_are_evaluated_to_the_same(demo: Demo, tmp_path: Path, signature: str) -> None:
    """Functions of ragged tensors, and signatures of tf.Examples, which are made of the rows."""
    import apache_beam as beam

    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=LABEL, signature_name=signature)],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["seats"])],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name="MeanAbsoluteError")])],
    )
    model = evaluation.custom_eval_shared_model(str(demo.pushed), "", config)
    reader = UnischemaTFXIO(str(demo.artifact("UnischemaExampleGen", "examples") / "Split-eval"), schema=demo.schema)
    with beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(["--direct_num_workers=1"])) as pipeline:
        _ = pipeline | reader.BeamSource() | tfma.ExtractEvaluateAndWriteResults(
            eval_shared_model=model, eval_config=config, output_path=str(tmp_path),
            extractors=evaluation.custom_extractors(model, config, reader.TensorAdapterConfig()),
        )  # fmt: skip
    found = {key: values[""][""] for key, values in tfma.load_eval_result(str(tmp_path)).slicing_metrics}
    whole = tfma.load_eval_result(str(demo.artifact("UnischemaEvaluator", "evaluation")))
    expected = dict(whole.slicing_metrics)[()][""][""]
    assert found[()]["mean_absolute_error"] == pytest.approx(expected["mean_absolute_error"], rel=1e-5)
    # A feature that is missing in some rows makes slices of the others.
    table = pq.read_table(demo.folder / "data" / "eval", columns=["seats"])["seats"]
    assert {key[0][1] for key in found if key} == set(table.drop_null().unique().to_pylist())


def test_a_model_that_asks_for_what_examples_lack_is_refused(demo: Demo) -> None:
    model = evaluation.CallableModel(str(demo.pushed))
    assert model.string_input("") is None
    assert model.string_input("serving_tf_examples") == "examples"
    with pytest.raises(SchemaMismatchError, match=r"'serving_default' takes features .* expected .*'lost_there'"):
        model.signatures["serving_default"](tf.constant([b""]))


def test_what_changed_runs_again_and_nothing_else(demo: Demo) -> None:
    """First a goal that no model reaches, then a file more."""
    root = demo.folder / "pipeline"
    assert blessed(root)
    steps = states(run(demo.pipeline(goal=1.0), root))
    assert steps == dict.fromkeys(COMPONENTS, "CACHED") | {"UnischemaEvaluator": "COMPLETE", "Pusher": "COMPLETE"}
    assert not blessed(root)
    assert demo.pushed.exists()  # and no other

    rows = next(iter(tps.make_dataset(demo.folder / "data" / "eval", batch_size=FLIGHTS["eval"], nulls="mask")))
    with tps.DatasetWriter(demo.folder / "data" / "train", None, mode="append") as writer:
        writer.write_batch(columns_of(rows))
    until = RunOptions(to_nodes=["ExampleValidator"])
    assert states(run(demo.pipeline(), root, until)) == dict.fromkeys(COMPONENTS[:4], "COMPLETE")
    newest = max((root / "UnischemaStatisticsGen" / "statistics").iterdir(), key=lambda path: int(path.name))
    (statistics,) = tfdv.load_stats_binary(str(newest / "Split-train" / "FeatureStats.pb")).datasets
    assert statistics.num_examples == FLIGHTS["train"] + FLIGHTS["eval"]


def columns_of(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of `make_dataset` as `write_batch` takes it."""
    found: dict[str, Any] = {}
    for name, field in SCHEMA.fields.items():
        cells = list(batch[name].numpy())
        if field.numpy_dtype is np.str_:
            cells = [cell.decode() for cell in cells]
        if field.nullable:
            cells = [cell if there else None for cell, there in zip(cells, batch[f"{name}_valid"], strict=True)]
        found[name] = cells
    found["time"] = batch["time"].numpy().astype("datetime64[s]")
    return found
