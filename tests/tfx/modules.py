"""What the pipeline of test_transform.py runs: functions that TFX imports by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.utils import io_utils
from tfx_bsl.tfxio import dataset_options

from tfpetastorm.tfx import apply_transform_graph, export_with_transform

INPUTS = ["f64_z", "number", "known", "text_id", "steps_sum"]


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Every kind of tensor comes in and goes out: dense, ragged, of several dimensions, text and images."""
    i64 = inputs["i64"]
    return {
        "row": inputs["row"],
        "f64_z": tft.scale_to_z_score(inputs["f64"]),
        "number": tf.cast(tf.reduce_sum(i64, axis=1), tf.float32) / 2.0**40,
        "known": tf.cast(i64.row_lengths(), tf.float32),
        "text_id": tft.compute_and_apply_vocabulary(inputs["text"], num_oov_buckets=1),
        "names_id": tft.compute_and_apply_vocabulary(inputs["names"]),
        "steps": inputs["steps"],
        "steps_sum": tft.scale_to_0_1(tf.reduce_sum(inputs["steps"], axis=1)),
        "grid": inputs["grid"],
        "pair": inputs["pair"] * 2.0,
        "photo_bytes": tf.cast(tf.strings.length(inputs["photo"]), tf.int64),
        "blob": inputs["blob"],
        "halves": inputs["halves"] - tft.mean(inputs["halves"]),
        "target": inputs["f16"] * 10.0,
    }


def passed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Lists, and lists of lists, as they are."""
    return {name: tf.identity(inputs[name]) for name in ("row", "track", "boxes", "names")}


def run_fn(fn_args: Any) -> None:
    """As TFX's templates read, through `data_accessor` alone; it writes down what it saw."""
    schema = io_utils.SchemaReader().read(fn_args.schema_path)
    options = dataset_options.TensorFlowDatasetOptions(batch_size=8, shuffle=False, num_epochs=1)
    train = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, schema)
    batches = fn_args.data_accessor.record_batch_factory(
        fn_args.eval_files, dataset_options.RecordBatchesOptions(batch_size=8, num_epochs=1), schema
    )
    seen = {"train": [], "eval": sum(batch.num_rows for batch in batches)}
    for batch in train:
        seen["train"] += batch["row"].numpy().tolist()
    Path(fn_args.model_run_dir).mkdir(parents=True, exist_ok=True)
    (Path(fn_args.model_run_dir) / "seen.json").write_text(json.dumps(seen))

    inputs = {name: keras.Input((), name=name, dtype="int64" if name == "text_id" else "float32") for name in INPUTS}
    columns = [keras.ops.cast(tensor, "float32") for tensor in inputs.values()]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.ops.stack(columns, axis=1)))
    model.compile("sgd", "mse")
    data = apply_transform_graph(train, fn_args.transform_graph_path, label="target", outputs=INPUTS)
    for features, target in data:
        model.train_on_batch(features, target)
    export_with_transform(model, fn_args.transform_graph_path, fn_args.serving_model_dir)
