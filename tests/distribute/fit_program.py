"""`tf_keras` `fit` on one worker of `MultiWorkerMirroredStrategy`; writes which rows each step really saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

import tfpetastorm as tps


class Recorder(tf_keras.Model):
    """A line through the rows that notes the ids, and the weights, of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.line = tf_keras.layers.Dense(1)
        self.trained: list[list[int]] = []
        self.tested: list[list[tuple[int, float]]] = []

    def call(self, features):
        return self.line(features["x"][:, None])

    def train_step(self, data):
        def note(ids):
            self.trained.append(ids.tolist())
            return np.int64(0)

        tf.numpy_function(note, [data[0]["id"]], tf.int64)
        return super().train_step(data)

    def test_step(self, data):
        def note(ids, weights):
            self.tested.append(list(zip(ids.tolist(), weights.tolist(), strict=True)))
            return np.int64(0)

        features, labels, weights = data
        tf.numpy_function(note, [features["id"], weights], tf.int64)
        return super().test_step((features, labels, weights))


class Epochs(tf_keras.callbacks.Callback):
    """Where in `trained` each epoch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[int] = []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(len(self.model.trained))


def main(
    url: str, batch_size: int, even: str, drop_remainder: bool, epochs: int, shuffle: bool, one_pass: bool
) -> dict:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    common = {"fields": ["id", "x"], "label": "y", "pool": "inline"}
    with strategy.scope():
        order = {"shuffle": tps.Shuffle(block_rows=16) if shuffle else False, "seed": 5}
        passes = {"epochs": epochs, "epoch": 3} if one_pass else {}
        train = tps.make_dataset(
            url, batch_size=batch_size, even=even, drop_remainder=drop_remainder, **passes, **order, **common
        )
        # Its rows fill whole steps but for two: one for each worker, of which TensorFlow would make two pieces.
        held_out = tps.make_dataset(url, batch_size=8, even="pad", **common)
        model = Recorder()
        model.compile("sgd", "mse", weighted_metrics=["mae"])
    policy = train.options().experimental_distribute.auto_shard_policy
    ends = Epochs()
    steps = tps.steps(train) // (epochs if one_pass else 1)
    history = model.fit(
        train, epochs=epochs, steps_per_epoch=steps if one_pass else None,
        validation_data=held_out, verbose=2, callbacks=[ends],
    )  # fmt: skip
    starts = [0, *ends.ends[:-1]]
    return {
        "steps": steps,
        "validation_steps": tps.steps(held_out),
        "cardinality": int(train.cardinality()),
        "policy": policy.name,
        "epochs": [model.trained[start:end] for start, end in zip(starts, ends.ends, strict=True)],
        "tested": model.tested,
        "row_groups": tps.stats(train).counts.row_groups,
        "tested_row_groups": tps.stats(held_out).counts.row_groups,
        "loss": history.history["loss"],
        "val_mae": history.history["val_mae"],
        "slope": float(model.line.kernel[0, 0]),
        "intercept": float(model.line.bias[0]),
    }


if __name__ == "__main__":
    result = main(**json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(result))
