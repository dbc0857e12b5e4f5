"""Evaluator calls models on rows of Parquet of every kind of field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx_bsl.public import tfxio

import tfpetastorm as tps
from tests.tfx import kinds
from tfpetastorm.errors import OptionError, SchemaMismatchError
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx import evaluation
from tfpetastorm.tfxio import UnischemaTFXIO

LABEL = "i8"
ROWS = kinds.make_rows(60, 3)


def number(tensor: Any) -> Any:
    """A number for each row, of all that it holds and where: float32 `[batch]`."""
    if tensor.dtype == tf.string:
        flat = tensor.flat_values if isinstance(tensor, tf.RaggedTensor) else tensor
        hashed = tf.strings.to_hash_bucket_fast(flat, 100)
        tensor = tensor.with_flat_values(hashed) if isinstance(tensor, tf.RaggedTensor) else hashed
    if isinstance(tensor, tf.RaggedTensor):
        tensor = tensor.to_tensor(-1)
    flat = tf.cast(tf.reshape(tensor, [tf.shape(tensor)[0], -1]) % 1001, tf.float32)
    # Padding depends on the batch: it must not count.
    return tf.reduce_sum(tf.where(flat == 1000, 0.0, flat), axis=1)


class Model(tf.Module):
    """Gives the sum of the numbers of all features."""

    def __init__(self, specs: dict[str, Any]) -> None:
        super().__init__()
        self.serve = tf.function(self.predict, input_signature=[specs])

    def predict(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"predicted": tf.add_n([number(tensor) for tensor in features.values()])[:, None]}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluation") / "examples" / "Split-eval"
    kinds.write_split(folder, ROWS)
    return f"{folder}/*"


@pytest.fixture(scope="module")
def reader(examples: str) -> UnischemaTFXIO:
    return UnischemaTFXIO(examples, schema=unischema_to_schema(kinds.SCHEMA))


def config_of(specs: list[tfma.ModelSpec], **slicing: Any) -> tfma.EvalConfig:
    return tfma.EvalConfig(
        model_specs=specs,
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(**slicing)],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name="MeanAbsoluteError")])],
    )


def evaluated(reader: Any, config: tfma.EvalConfig, models: Any, folder: Path) -> Any:
    """As TFX's Evaluator goes about it."""
    extractors = evaluation.custom_extractors(models, config, reader.TensorAdapterConfig())
    with beam.Pipeline() as pipeline:
        _ = pipeline | reader.BeamSource() | tfma.ExtractEvaluateAndWriteResults(
            eval_shared_model=models, eval_config=config, output_path=str(folder), extractors=extractors
        )  # fmt: skip
    return folder


def errors(folder: Path, **model: str) -> dict[Any, Any]:
    """The mean absolute error that TFMA found, by slice."""
    found = tfma.load_eval_result(str(folder), **model).slicing_metrics
    return {key: values[""][""]["mean_absolute_error"]["doubleValue"] for key, values in found}


@pytest.fixture(scope="module")
def rows(reader: UnischemaTFXIO) -> Any:
    options = tfxio.TensorFlowDatasetOptions(batch_size=len(ROWS), num_epochs=1, shuffle=False)
    (rows,) = reader.TensorFlowDataset(options)
    return rows


def test_a_function_of_features_is_called_with_what_rows_hold(
    reader: UnischemaTFXIO, rows: Any, tmp_path: Path
) -> None:
    """Dense, missing, ragged, and lists of lists: the metric is that of the model called by hand."""
    model = Model(open_batches(rows))
    tf.saved_model.save(model, str(tmp_path / "model"))
    config = config_of([tfma.ModelSpec(label_key=LABEL, signature_name="serve")], feature_keys=["maybe"])
    shared = evaluation.custom_eval_shared_model(str(tmp_path / "model"), "", config, add_metrics_callbacks=None)
    found = errors(evaluated(reader, config, shared, tmp_path / "found"))

    off = np.abs(model.serve(rows)["predicted"][:, 0] - tf.cast(rows[LABEL], tf.float32))
    assert found[()] == pytest.approx(off.mean(), rel=1e-5)
    maybe = [row["maybe"] for row in ROWS]
    assert None in maybe
    for value in (False, True):
        chosen = [one is value for one in maybe]
        assert found[(("maybe", int(value)),)] == pytest.approx(off[chosen].mean(), rel=1e-5)
    assert len(found) == 3


class Scaled(tf.Module):
    """Gives a feature that may be missing, times a number; 7 where it is missing."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor
        lists = tf.TensorSpec([None, None], tf.int64, "i64"), tf.TensorSpec([None], tf.int64, "i64_length")
        self.served = tf.function(self.predict).get_concrete_function(*lists)

    def predict(self, i64: Any, i64_length: Any) -> dict[str, Any]:
        scaled = tf.cast(tf.reduce_sum(i64, axis=1), tf.float32) * self._factor
        return {"predicted": tf.where(i64_length > 0, scaled, 7.0)[:, None]}


@pytest.mark.parametrize("ragged", [True, False])
def test_a_candidate_is_compared_with_a_baseline(examples: str, tmp_path: Path, ragged: bool) -> None:
    """Each by its own signature, of a nullable feature that is padded; in schemas of others' making it is sparse."""
    proto = unischema_to_schema(tps.Unischema("Kinds", kinds.FLAT))
    proto.represent_variable_length_as_ragged = ragged
    reader = UnischemaTFXIO(examples, schema=proto)
    config = config_of(
        [
            tfma.ModelSpec(name="candidate", label_key=LABEL),
            tfma.ModelSpec(name="baseline", label_key=LABEL, is_baseline=True),
        ],
        feature_keys=["flag"],
    )
    factors, shared = {"candidate": 2.0**-40, "baseline": 2.0**-39}, []
    for name, factor in factors.items():
        model = Scaled(factor)
        tf.saved_model.save(model, str(tmp_path / name), signatures={"serving_default": model.served})
        shared.append(evaluation.custom_eval_shared_model(str(tmp_path / name), name, config))
    folder = evaluated(reader, config, shared, tmp_path / "found")
    for name, factor in factors.items():
        off = [abs((7 if row["i64"] is None else row["i64"] * factor) - row[LABEL]) for row in ROWS]
        assert errors(folder, model_name=name)[()] == pytest.approx(np.mean(off), rel=1e-5)


@pytest.mark.parametrize(
    ("label", "message"),
    [("maybe", r"without their label \(field 'maybe'\).*found none in \d+ of"), ("gone", "Correct the label_key")],
)
def test_rows_without_a_label_are_refused(reader: UnischemaTFXIO, tmp_path: Path, label: str, message: str) -> None:
    model = Scaled(1.0)
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.served})
    config = config_of([tfma.ModelSpec(label_key=label)], feature_keys=["flag"])
    shared = evaluation.custom_eval_shared_model(str(tmp_path / "model"), "", config)
    with pytest.raises(SchemaMismatchError, match=message):
        evaluated(reader, config, shared, tmp_path / "found")


def open_batches(rows: dict[str, Any]) -> dict[str, Any]:
    """The specs of tensors for any number of rows."""
    found: dict[str, Any] = {}
    for name, tensor in rows.items():
        if isinstance(tensor, tf.RaggedTensor):
            shape = [None, *tensor.shape[1:]]
            found[name] = tf.RaggedTensorSpec(shape, tensor.dtype, tensor.ragged_rank, tensor.row_splits.dtype)
        else:
            found[name] = tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
    return found


def test_lists_of_lists_are_no_tf_examples(reader: UnischemaTFXIO, tmp_path: Path) -> None:
    class OfExamples(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
        def serve(self, examples: Any) -> dict[str, Any]:
            return {"predicted": tf.cast(tf.strings.length(examples), tf.float32)}

    model = OfExamples()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.serve})
    config = config_of([tfma.ModelSpec(label_key=LABEL)], feature_keys=["flag"])
    shared = evaluation.custom_eval_shared_model(str(tmp_path / "model"), "", config)
    with pytest.raises(OptionError, match=r"hold no lists of lists: .* found the features \['track', 'boxes'\]"):
        evaluated(reader, config, shared, tmp_path / "found")


def test_a_feature_of_text_alone_is_no_tf_example(reader: UnischemaTFXIO, tmp_path: Path) -> None:
    """Though it is one input of strings as well; lists of lists, which tf.Examples can't hold, are then no matter."""

    class OfText(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def serve(self, text: Any) -> dict[str, Any]:
            return {"predicted": tf.cast(tf.strings.length(text), tf.float32)}

    model = OfText()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.serve})
    config = config_of([tfma.ModelSpec(label_key=LABEL)], feature_keys=["flag"])
    shared = evaluation.custom_eval_shared_model(str(tmp_path / "model"), "", config)
    assert evaluated(reader, config, shared, tmp_path / "found")
