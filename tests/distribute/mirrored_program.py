"""`MirroredStrategy` on two logical CPUs: Keras 3 `fit`, and a loop of one's own; writes which rows were seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfpetastorm as tps


class Recorder(keras.Model):
    """A line through the rows that notes the ids, and the weights, that each replica sees."""

    def __init__(self) -> None:
        super().__init__()
        self.line = keras.layers.Dense(1)
        self.trained: list[list[int]] = []
        self.tested: list[list[int]] = []

    def call(self, features):
        return self.line(features["x"][:, None])

    def train_step(self, data):
        tf.numpy_function(lambda ids: self._note(self.trained, ids), [data[0]["id"]], tf.int64)
        return super().train_step(data)

    def test_step(self, data):
        tf.numpy_function(lambda ids: self._note(self.tested, ids), [data[0]["id"]], tf.int64)
        return super().test_step(data)

    @staticmethod
    def _note(seen, ids):
        seen.append(ids.tolist())
        return np.int64(0)


def fit(strategy, url: str, batch_size: int, epochs: int) -> dict:
    common = {"fields": ["id", "x"], "label": "y", "batch_size": batch_size, "pool": "inline"}
    with strategy.scope():
        train = tps.make_dataset(url, shuffle=True, seed=5, **common)
        held_out = tps.make_dataset(url, **common)
        model = Recorder()
        model.compile("sgd", "mse")
    history = model.fit(train, epochs=epochs, validation_data=held_out, verbose=2)
    return {
        "steps": tps.steps(train),
        "cardinality": int(train.cardinality()),
        "trained": model.trained,
        "tested": model.tested,
        "epochs": len(history.history["loss"]),
    }


def loop(strategy, url: str, batch_size: int, even: str | None) -> dict:
    made, seen = [], []

    def dataset_of(context: tf.distribute.InputContext) -> tf.data.Dataset:
        made.append(tps.make_dataset(url, fields=["id"], batch_size=batch_size, shard=context, even=even))
        return made[-1]

    for batch in strategy.distribute_datasets_from_function(dataset_of):
        parts = strategy.experimental_local_results(batch)
        masks = [part.get("row_mask", tf.ones_like(part["id"], tf.bool)) for part in parts]
        seen.append(
            [
                [[int(i), bool(real)] for i, real in zip(part["id"], mask, strict=True)]
                for part, mask in zip(parts, masks, strict=True)
            ]
        )
    return {"steps": tps.steps(made[0]), "seen": seen}


def main(url: str, batch_size: int, epochs: int) -> dict:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    return {
        "replicas": strategy.num_replicas_in_sync,
        "fit": fit(strategy, url, batch_size, epochs),
        **{even: loop(strategy, url, batch_size, even) for even in ("drop", "pad", "repeat")},
    }


if __name__ == "__main__":
    result = main(**json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(result))
