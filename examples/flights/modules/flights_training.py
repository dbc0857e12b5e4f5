"""What TFX's Trainer runs: a Keras model of the delay on arrival, saved so that it is served raw features."""

from __future__ import annotations

import keras
import pyarrow.parquet as pq
import tensorflow as tf
from tfx.utils import io_utils
from tfx_bsl.public import tfxio

from tfpetastorm.tfx import TransformGraph, apply_transform_graph, export_with_transform, with_data_accessor

LABEL = "arr_delay"
EMBEDDED = ("carrier", "origin", "dest")
BATCH = 512
SEED = 7


def run_fn(fn_args):
    """`fn_args.custom_config` has `epochs`."""
    keras.utils.set_random_seed(SEED)
    accessor = with_data_accessor(fn_args).data_accessor
    schema = io_utils.SchemaReader().read(fn_args.schema_path)
    graph = TransformGraph(fn_args.transform_graph_path)

    def examples(files, **options):
        options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH, num_epochs=1, label_key=LABEL, **options)
        return apply_transform_graph(accessor.tf_dataset_factory(files, options, schema), graph)

    training = examples(fn_args.train_files, shuffle=True, shuffle_seed=SEED)
    evaluation = examples(fn_args.eval_files, shuffle=False)
    epochs = fn_args.custom_config["epochs"]
    files = [file for pattern in fn_args.train_files for file in tf.io.gfile.glob(pattern)]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    features, _ = next(iter(training))
    model = delay_model(features, epochs * -(-rows // BATCH))
    # shuffle=False spares a warning of Keras: the dataset shuffles by itself.
    model.fit(training, validation_data=evaluation, epochs=epochs, shuffle=False, verbose=2)
    export_with_transform(model, graph, fn_args.serving_model_dir)


def delay_model(features, steps):
    """Says by how many minutes the delay on arrival differs from that at departure, and adds the two."""
    inputs = {name: keras.Input(one.shape[1:], name=name, dtype=one.dtype) for name, one in features.items()}
    # The vocabularies have 16, 3 and 104 words, and one more number stands for all others.
    embedded = [keras.layers.Embedding(128, 4)(inputs[name]) for name in EMBEDDED]
    x = keras.layers.Concatenate()([inputs["numbers"], *embedded])
    for units in (128, 64):
        x = keras.layers.Dropout(0.2)(keras.layers.Dense(units, activation="relu")(x))
    minutes = keras.layers.Add(name=LABEL)([inputs["left_late"], keras.layers.Dense(1)(x)])
    model = keras.Model(inputs, {LABEL: minutes})
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss=keras.losses.Huber(delta=10.0), metrics=["mae"])
    return model
